"""Durations as a person writes them: `250ms`, `1.5s`, `2m`, `1h`, or plain seconds."""

import re

from app.errors import UsageMistake

_UNITS_S = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h|d|)", re.ASCII)


def duration_option_s(text: str, option: str) -> float:
    """Seconds. Raises UsageMistake that names the option and says what to write."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageMistake(f"{option}: {text!r} is no duration: write 250ms, 1s, 2m or 1h")
    return float(match[1]) * _UNITS_S[match[2]]
