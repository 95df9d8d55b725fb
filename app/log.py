"""Log lines: one wide line for each event, as text or JSON, with every secret masked.

    log.info("attempt", extra={"delivery": delivery, "status": 503, "duration_ms": 12.4})

as text     12:00:01.234 info    attempt  delivery=… status=503 duration_ms=12.4
as JSON     {"at": "2026-01-01T12:00:01.234Z", "level": "info", "role": "sender", "event": …}
"""

import contextlib
import json
import logging
import os
import re
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO, cast

from app.hidden import MASK, without_hidden
from app.settings import LogFormat

_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",  # of uvicorn: the message once more, with colours
}
_OWN_FIELDS = frozenset({"at", "level", "role", "logger", "event", "error"})

# How the name of a secret ends: `token`, `sentinel_password`, MOMENTS_SECRET_KEY, X-Api-Key.
# Its first letters are asked for alone, for most places are none: half the time of a line.
_NAME = (
    r"(?=[tpas])(?:token|secrets?|password|passwd|passphrase|authorization"
    r"|(?:api|admin|secret|private|token)[_-]?keys?)"
)
# An API key of ours tells itself by its `mk_`. A `key` in text is one of the store's or of a map;
# as the field of a line it would be a secret, and its id is `key_id`.
_SECRET_FIELD = re.compile(rf".*{_NAME}|key", re.IGNORECASE | re.DOTALL)
_QUOTE_INSIDE = r"[\"'](?=\w)"  # pa"ss, and not the end of "pass"

# What a secret looks like in running text. What stands before it stays: the group `label` of each.
# No two parts that repeat can share a character, and what may be tried again has a bound: a line
# of n characters takes time in proportion to n, whatever they are.
_SECRETS = re.compile(
    "|".join(
        (
            # ?token=…&after=3
            rf"(?P<parameter>[?&](?:[\w.-]*{_NAME}|key)=)[^\s\"'&#]+",
            # "token": "…", \"token\": \"…\", token='…': up to the same quote, or the line's end
            rf"(?P<quoted>{_NAME}(?:\\*[\"'])? *[:=]{{1,2}}>? *b?(?P<quote>\\*[\"']))"
            r"(?:(?!(?<!\\)(?P=quote)).)*",
            # secrets=(…), token_keys={…}
            rf"(?P<many>{_NAME}(?:\\*[\"'])?(?: *: *|=)[\[({{])[^\])}}\n]*",
            # token=…, token: …, authorization: Bearer …, and not a path that ends in secret:rotate
            rf"(?P<named>{_NAME}(?:\\*[\"'])?(?: *: *(?!rotate\b)|=)(?:(?:bearer|basic)\s+)?)"
            rf"(?:[^\s\"']|{_QUOTE_INSIDE})+",
            r"(?P<scheme>\b(?:bearer|basic)\s+)[^\s\"'\\,;]+",
            r"(?P<prefix>\b(?:whsec|whsk|mk)_)[A-Za-z0-9+/=_-]+",
            # redis://user:…@host; with a slash in it unless what stands before that is a port
            r"(?P<user>://[^\s/:@\"'\[]*:)"
            rf"(?:(?:[^\s\"'/]|{_QUOTE_INSIDE})+(?=@)"
            rf"|(?!\d*[/?#])(?:[^\s\"']|{_QUOTE_INSIDE}){{1,256}}(?=@))",
            # a JWT, cut short or not: the base64 of `{"`
            r"(?-i:\beyJ)[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}",
        )
    ),
    re.IGNORECASE,
)
_LABELS = ("parameter", "quoted", "many", "named", "scheme", "prefix", "user")
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    10: "\\n",
    13: "\\r",
    9: "\\t",
}
_NEEDS_QUOTES = re.compile(r"[\s\"=]|^$")

_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31;1"}


def mask(text: str) -> str:
    """The text with keys, endpoint secrets, tokens and passwords replaced by `***`: what looks like
    one, and each that this process was given, whatever it looks like."""
    return without_hidden(_SECRETS.sub(_keep_label, text))


def _keep_label(match: re.Match[str]) -> str:
    return next(filter(None, (match[label] for label in _LABELS)), "") + MASK


def _masked(name: str, value: object) -> Any:
    """The value of a field, without the secrets in it however deep they are, as JSON has it."""
    if _SECRET_FIELD.fullmatch(name):
        return MASK
    match value:
        case None | bool() | int() | float():
            return value
        case Mapping():
            inner = cast(Mapping[object, object], value).items()
            return {mask(str(key)): _masked(str(key), one) for key, one in inner}
        case list() | tuple() | set() | frozenset():
            return [_masked("", one) for one in cast(Iterable[object], value)]
        case _:
            return mask(str(value))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What was given as `extra`. A name that the line uses itself gets a `_` behind it."""
    return {
        f"{name}_" if name in _OWN_FIELDS else name: _masked(name, value)
        for name, value in vars(record).items()
        if name not in _RECORD_FIELDS
    }


class _Lines(logging.Formatter, ABC):
    """Masks each part of a line, its traceback included, before a format gets to see it."""

    def format(self, record: logging.LogRecord) -> str:
        trace = mask(self._trace(record))
        return self.line(record, mask(record.getMessage()), _fields(record), trace)

    @abstractmethod
    def line(
        self, record: logging.LogRecord, event: str, fields: dict[str, Any], trace: str
    ) -> str:
        """The line of a record, whose own message, `extra` and traceback are not to be used."""

    def _trace(self, record: logging.LogRecord) -> str:
        parts = [self.formatException(record.exc_info)] if record.exc_info else []
        if record.stack_info:
            parts.append(record.stack_info)
        return "\n".join(parts)


class JsonLines(_Lines):
    """One JSON object a line, for machines. Each tells its role: api, gateway, worker, …"""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def line(
        self, record: logging.LogRecord, event: str, fields: dict[str, Any], trace: str
    ) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        said: dict[str, Any] = {
            "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "role": self._role,
            "logger": record.name,
            "event": event,
            **fields,
        }
        if trace:
            said["error"] = trace
        return json.dumps(said, ensure_ascii=False)


class TextLines(_Lines):
    """Readable lines: time, level, event, then the fields as key=value."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def line(
        self, record: logging.LogRecord, event: str, fields: dict[str, Any], trace: str
    ) -> str:
        at = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        told = "".join(f" {name}={_text(value)}" for name, value in fields.items())
        line = f"{at} {self._level(record)} {event.translate(_CONTROL)} {told}".rstrip()
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


class _Stream(logging.StreamHandler[TextIO]):
    """Writes lines; of one that cannot be made it says so, without what was to stand in it."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Python's own shows message and arguments as they are."""
        where = f"{record.pathname}:{record.lineno}"
        with contextlib.suppress(OSError, ValueError):  # nobody reads, or it is closed: the end
            self.stream.write(f"a log line of {where} is lost\n{mask(traceback.format_exc())}")


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
    handler = _Stream(out)
    if resolve(format_, out) == "json":
        handler.setFormatter(JsonLines(role))
    else:
        handler.setFormatter(TextLines(colour=wants_colour(out)))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    # When a server starts and stops is said by the process that runs it.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))
