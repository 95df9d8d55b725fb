"""Scripts that only tests run, and a store behind a bad network."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.store import script
from app.store.client import Store
from tests.store.proxy import Proxy, proxy_to

_SCRIPTS = {
    "add": "return redis.call('INCRBY', KEYS[1], ARGV[1])",
    "add_once": "-- Adds.\n-- ONCE  it counts.\nreturn redis.call('INCRBY', KEYS[1], ARGV[1])",
    "refuse": "return redis.error_reply('NOTNOW ' .. ARGV[1])",
    "both": "return {redis.call('EXISTS', KEYS[1]), redis.call('EXISTS', KEYS[2])}",
    "fill": "return redis.call('SET', KEYS[1], string.rep('x', tonumber(ARGV[1])))",
}


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets the store find the scripts above instead of its own."""
    for name, text in _SCRIPTS.items():
        (tmp_path / f"{name}.lua").write_text(text)
    monkeypatch.setattr(script, "_FOLDER", tmp_path)
    script.find_script.cache_clear()
    yield
    script.find_script.cache_clear()


@pytest.fixture
async def proxy(single_store: Store, single_store_url: str) -> AsyncIterator[Proxy]:
    """A proxy before an empty store."""
    async with proxy_to(urlsplit(single_store_url).path) as proxy:
        yield proxy
