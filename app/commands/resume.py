"""Where a socket client stands in its log, and when it connects again. No I/O."""

from dataclasses import dataclass, replace
from typing import Any

FIRST_S = 0.5
LONGEST_S = 20.0
FINAL_CODES = range(4500, 5000)  # closed for good: the same client would be closed again


@dataclass(frozen=True, slots=True)
class Place:
    """What to resume with. `after` None: from the acknowledged cursor."""

    after: int | None = None
    epoch: str | None = None

    def seen(self, frame: dict[str, Any]) -> "Place":
        """Where a client stands once it has dealt with a frame of the server's."""
        match frame:
            case {"type": "hello", "epoch": str(epoch)}:
                # A reset follows. Should it not come, the old offset counts for nothing either.
                begins_anew = self.epoch not in (None, epoch)
                return Place(0 if begins_anew else self.after, epoch)
            case {"type": "reset", "epoch": str(epoch)}:
                return Place(0, epoch)
            case {"type": "gap", "to": int(last)}:
                return replace(self, after=max(last, self.after or 0))
            case {"offset": int(offset)}:
                # What is pushed again, unacknowledged, does not put a client back.
                return replace(self, after=max(offset, self.after or 0))
            case _:
                return self

    def parameters(self) -> dict[str, str]:
        """The query parameters that resume here."""
        found = {"after": self.after, "epoch": self.epoch}
        return {name: str(value) for name, value in found.items() if value is not None}


def reconnect_delay_s(failures: int, random: float, asked_ms: int = 0) -> float:
    """How long to wait after `failures` in a row (1 or more), but as long as the server asked.

    Full jitter: anything between nothing and a limit that doubles. `random` is in [0, 1).
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    limit_s = min(LONGEST_S, FIRST_S * 2.0 ** min(failures - 1, 16))
    return max(limit_s * random, asked_ms / 1000)
