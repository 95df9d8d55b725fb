"""Refusals: problems that were answered, counted by kind; a log line tells when a limit is met."""

import logging
from collections import Counter
from collections.abc import Callable
from time import monotonic

from app.api.problems import NOT_READY, Kind
from app.metrics import Labels

log = logging.getLogger(__name__)

EVERY_S = 10.0  # at most one line for each kind in this time
_LOGGED = frozenset({429, 503})  # what the caller is not to blame for


class Refusals:
    """The problems of one process."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.by_kind: Counter[str] = Counter()
        self._clock = clock
        self._told: dict[str, tuple[float, int]] = {}

    def note(self, kind: Kind, detail: str) -> None:
        self.by_kind[kind.word] += 1
        if kind.status in _LOGGED and kind is not NOT_READY:  # whoever asks for it is told
            self._tell(kind, detail)

    def _tell(self, kind: Kind, detail: str) -> None:
        now, count = self._clock(), self.by_kind[kind.word]
        at, told = self._told.get(kind.word, (-EVERY_S, 0))
        if now - at < EVERY_S:
            return
        self._told[kind.word] = (now, count)
        log.warning(
            "requests refused", extra={"kind": kind.word, "count": count - told, "detail": detail}
        )

    def read(self) -> dict[Labels, float]:
        return {(("kind", word),): count for word, count in self.by_kind.items()}
