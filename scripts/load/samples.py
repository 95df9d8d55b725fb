"""Latencies on their way from a load process to the script: noted one by one, told in parts."""

import base64
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

from scripts.load.mark import find_mark

US_MAX = 2**32 - 1  # of an `array("I")`: 71 minutes


class Key(NamedTuple):
    """What latencies are kept apart by. `second` is the one in which the post was due."""

    phase: int
    second: int
    kind: str
    group: str


class Samples:
    """`count` counts all that were ever noted."""

    def __init__(self) -> None:
        self.count = 0
        self._open: dict[Key, array[int]] = {}

    def note(self, payload: bytes, group: str, now_us: int) -> bool:
        """Something with a mark has come. False when it has none."""
        mark = find_mark(payload)
        if mark is None:
            return False
        self.add(Key(mark.phase, mark.due_us // 1_000_000, mark.kind, group), now_us - mark.due_us)
        return True

    def add(self, key: Key, latency_us: int) -> None:
        values = self._open.get(key)
        if values is None:
            values = self._open[key] = array("I")
        values.append(min(max(latency_us, 0), US_MAX))
        self.count += 1

    def take(self) -> list[Any]:
        """All since the last time, as JSON can carry it."""
        taken, self._open = self._open, {}
        return [[*key, base64.b64encode(values).decode()] for key, values in taken.items()]


def untold(told: list[Any]) -> Iterator[tuple[Key, "array[int]"]]:
    """What `take` gave, read again."""
    for *key, text in told:
        values = array("I")
        values.frombytes(base64.b64decode(text))
        yield Key(*key), values
