"""Tracing of a process: on as the settings say, and never imported when it is off."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from app.commands.environment import variable
from app.errors import CommandFailed
from app.settings import Settings

if TYPE_CHECKING:
    from app.tracing import Tracer


@asynccontextmanager
async def traced(settings: Settings, role: str) -> AsyncGenerator["Tracer | None"]:
    """What spans are begun with while the block runs; None when tracing is off.

    Raises CommandFailed when it is on and OpenTelemetry is not installed.
    """
    if settings.tracing == "off":
        yield None
        return
    try:
        from app.tracing import make_tracer
    except ImportError as error:
        raise CommandFailed(
            f"{variable('tracing')} is {settings.tracing}, but {error.name} is not installed: "
            "pip install 'moments-push[tracing]'"
        ) from error
    tracer = make_tracer(role, ratio=settings.tracing_sample, spans_max=settings.tracing_spans_max)
    try:
        yield tracer
    finally:
        await tracer.close()
