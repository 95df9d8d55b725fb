"""The gateway's tests run on uvloop, as the gateway does; modules with LOOPS on what that names."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

FACTORIES = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.SelectorEventLoop}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    names = getattr(item.getparent(pytest.Module).obj, "LOOPS", ("uvloop",))  # type: ignore[union-attr]
    return {name: FACTORIES[name] for name in names}
