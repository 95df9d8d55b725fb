"""What the janitors of this worker last saw waiting in their shards, for whoever scrapes."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from app.metrics import Labels
from app.store.backlog import Backlog, Memory
from app.store.stats import ROLES


@dataclass(slots=True)
class Backlogs:
    """By shard, as long as this worker's janitor holds it: two never tell of the same one."""

    shards: dict[int, Backlog] = field(default_factory=dict[int, Backlog])
    servers: dict[str, Memory] = field(default_factory=dict[str, Memory])

    def forget(self, shard: int) -> None:
        self.shards.pop(shard, None)
        if shard == 0:
            self.servers.clear()

    def entries(self) -> dict[Labels, float]:
        return {
            (("queue", queue), ("shard", shard)): count
            for shard, backlog in self._by_name()
            for queue, count in backlog.entries.items()
        }

    def oldest_s(self) -> dict[Labels, float]:
        return {
            (("queue", queue), ("shard", shard)): age_s
            for shard, backlog in self._by_name()
            for queue, age_s in backlog.oldest_s.items()
        }

    def endpoints(self) -> dict[Labels, float]:
        return {
            (("state", state), ("shard", shard)): count
            for shard, backlog in self._by_name()
            for state, count in backlog.endpoints.items()
        }

    def unowned(self) -> dict[Labels, float]:
        return {
            (("role", role), ("shard", shard)): float(role in backlog.unowned)
            for shard, backlog in self._by_name()
            for role in ROLES
        }

    def memory(self) -> dict[Labels, float]:
        return {(("server", name),): memory.used for name, memory in self.servers.items()}

    def memory_max(self) -> dict[Labels, float]:
        return {(("server", name),): memory.limit for name, memory in self.servers.items()}

    def _by_name(self) -> Iterator[tuple[str, Backlog]]:
        return ((str(shard), backlog) for shard, backlog in self.shards.items())
