"""What `moments doctor` finds: whether one thing is as it should be, and what to change."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """A fault has to be changed before the service can be relied on."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """`topic` is the one word that says what was looked at."""

    topic: str
    level: Level
    text: str


def ok(topic: str, text: str) -> Finding:
    return Finding(topic, Level.OK, text)


def warning(topic: str, text: str) -> Finding:
    return Finding(topic, Level.WARNING, text)


def fault(topic: str, text: str) -> Finding:
    return Finding(topic, Level.FAULT, text)
