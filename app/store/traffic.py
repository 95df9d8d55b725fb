"""What this process counts of its traffic with the store."""

from dataclasses import dataclass, field

from app.metrics import Histogram, Labels
from app.store.durability import Ack


@dataclass(slots=True)
class Traffic:
    """Totals since the start. `times` are of round trips, in seconds, by what was waited for."""

    calls: int = 0
    errors: int = 0
    times: dict[Ack, Histogram] = field(default_factory=dict[Ack, Histogram])

    def time(self, ack: Ack) -> Histogram:
        return self.times.setdefault(ack, Histogram())

    def by_ack(self) -> dict[Labels, Histogram]:
        return {(("ack", ack),): times for ack, times in self.times.items()}
