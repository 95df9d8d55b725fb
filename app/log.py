"""Log lines: one wide line for each event, as text or JSON, with every secret masked.

    log.info("attempt", extra={"delivery": delivery, "status": 503, "duration_ms": 12.4})

as text     12:00:01.234 info    attempt  delivery=… status=503 duration_ms=12.4
as JSON     {"at": "2026-01-01T12:00:01.234Z", "level": "info", "role": "sender", "event": …}
"""

import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from app.settings import LogFormat

_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",  # of uvicorn: the message once more, with colours
}
_OWN_FIELDS = frozenset({"at", "level", "role", "logger", "event", "error"})
_SECRET_FIELDS = frozenset({"token", "secret", "secrets", "password", "authorization", "admin_key"})
_MASK = "***"

# What a secret looks like in running text, each with the part that may stay in group 1 to 4.
_SECRETS = re.compile(
    r"(\b(?:whsec|whsk|mk)_)[A-Za-z0-9+/=_-]+"
    r"|(\b(?:bearer|basic)\s+)[^\s\"'\\,;]+"
    r"|(\b(?:token|secret|password)=)[^\s\"'\\&]+"
    r"|(://[^\s/:@\"']*:)[^\s/@\"']+(?=@)"
    r"|\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*",
    re.IGNORECASE,
)
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    10: "\\n",
    13: "\\r",
    9: "\\t",
}
_NEEDS_QUOTES = re.compile(r"[\s\"=]|^$")

_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31;1"}


def mask(text: str) -> str:
    """The text with keys, endpoint secrets, tokens and passwords replaced by `***`."""
    return _SECRETS.sub(_keep_label, text)


def _keep_label(match: re.Match[str]) -> str:
    return (match[1] or match[2] or match[3] or match[4] or "") + _MASK


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What was given as `extra`. A name that the line uses itself gets a `_` behind it."""
    fields: dict[str, Any] = {}
    for name, value in vars(record).items():
        if name not in _RECORD_FIELDS:
            shown = _MASK if name in _SECRET_FIELDS else value
            fields[f"{name}_" if name in _OWN_FIELDS else name] = shown
    return fields


class _Lines(logging.Formatter):
    """Masks whatever a line says, its traceback included: the one place all of it goes through."""

    def format(self, record: logging.LogRecord) -> str:
        return mask(self.line(record))

    def line(self, record: logging.LogRecord) -> str:
        raise NotImplementedError

    def trace(self, record: logging.LogRecord) -> str:
        parts = [self.formatException(record.exc_info)] if record.exc_info else []
        if record.stack_info:
            parts.append(record.stack_info)
        return "\n".join(parts)


class JsonLines(_Lines):
    """One JSON object a line, for machines. Each tells its role: api, gateway, worker, …"""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def line(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        fields: dict[str, Any] = {
            "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "role": self._role,
            "logger": record.name,
            "event": record.getMessage(),
            **_fields(record),
        }
        if trace := self.trace(record):
            fields["error"] = trace
        return json.dumps(fields, ensure_ascii=False, default=str)


class TextLines(_Lines):
    """Readable lines: time, level, event, then the fields as key=value."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def line(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        event = record.getMessage().translate(_CONTROL)
        fields = "".join(f" {name}={_text(value)}" for name, value in _fields(record).items())
        line = f"{at} {self._level(record)} {event} {fields}".rstrip()
        trace = self.trace(record)
        return f"{line}\n{trace}" if trace else line

    def _level(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        padded = f"{level:<7}"
        return f"\x1b[{_COLOURS.get(level, '0')}m{padded}\x1b[0m" if self._colour else padded


def _text(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    if _NEEDS_QUOTES.search(text):
        return json.dumps(text, ensure_ascii=False)
    return text.translate(_CONTROL)


def wants_colour(stream: TextIO) -> bool:
    """Colours are for terminals; NO_COLOR and FORCE_COLOR decide where they are set."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or stream.isatty()


def resolve(format_: LogFormat, stream: TextIO) -> LogFormat:
    """`text` or `json`: what `auto` means for this stream."""
    if format_ != "auto":
        return format_
    return "text" if stream.isatty() else "json"


def configure(format_: LogFormat, level: str, *, role: str, stream: TextIO | None = None) -> None:
    """Sends all log lines of this process to `stream` (standard error), from `level` on.

    `role` (api, gateway, worker, …) stands in every JSON line.
    """
    out: TextIO = stream or sys.stderr
    handler = logging.StreamHandler(out)
    if resolve(format_, out) == "json":
        handler.setFormatter(JsonLines(role))
    else:
        handler.setFormatter(TextLines(colour=wants_colour(out)))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    # When a server starts and stops is said by the process that runs it.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))
