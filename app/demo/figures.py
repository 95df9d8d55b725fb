"""The demo's figures: what became of the deliveries, and how long they took."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import quantiles

from app.demo.cast import Manner
from app.demo.verdict import Evidence


@dataclass(frozen=True, slots=True)
class Group:
    """Deliveries of one channel in one state."""

    channel: str
    state: str
    deliveries: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Latency:
    """From a post's acceptance to its receipt, in milliseconds."""

    what: str
    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


def groups(evidence: Evidence) -> list[Group]:
    deliveries: Counter[tuple[str, str]] = Counter()
    attempts: Counter[tuple[str, str]] = Counter()
    for account in evidence.accounts:
        for row in account.rows:
            deliveries[row.channel, row.state] += 1
            attempts[row.channel, row.state] += row.attempts
    return [Group(*key, deliveries[key], attempts[key]) for key in sorted(deliveries)]


def latencies(evidence: Evidence) -> list[Latency]:
    """Sockets that were open and those that had to come back first, webhooks at the first attempt
    and later ones: each by itself, since they answer different questions."""
    live: list[int] = []
    resumed: list[int] = []
    accepted_ms = {account.post.id: account.post.accepted_ms for account in evidence.accounts}
    for client in evidence.clients.values():
        for frame in client.frames:
            if frame.post in accepted_ms:  # another is complained of elsewhere
                waits = live if frame.live else resumed
                waits.append(frame.at_ms - accepted_ms[frame.post])
    first, retried = _webhooks(evidence)
    return [
        _latency("socket, open", live),
        _latency("socket, away and back", resumed),
        _latency("webhook, first attempt", first),
        _latency("webhook, retried", retried),
    ]


def _webhooks(evidence: Evidence) -> tuple[list[int], list[int]]:
    """The waits for the request that was accepted, where one was."""
    first: list[int] = []
    retried: list[int] = []
    for account in evidence.accounts:
        for row in account.of("webhook"):
            mailbox = evidence.mailboxes[row.recipient]
            requests = mailbox.requests.get(row.id)
            if row.state == "delivered" and requests and mailbox.manner is not Manner.SILENT:
                waits = first if len(requests) == 1 else retried
                waits.append(requests[-1].at_ms - account.post.accepted_ms)
    return first, retried


def _latency(what: str, waits_ms: Sequence[int]) -> Latency:
    if not waits_ms:
        return Latency(what, 0, *[float("nan")] * 4)
    if len(waits_ms) == 1:
        return Latency(what, 1, *[float(waits_ms[0])] * 4)
    cuts = quantiles(waits_ms, n=100, method="inclusive")
    return Latency(what, len(waits_ms), cuts[49], cuts[94], cuts[98], float(max(waits_ms)))


def specials(evidence: Evidence) -> Iterator[tuple[str, int, int, str]]:
    """Of each special receiver: its manner, its posts, the requests it got, the states they led
    to."""
    for user, mailbox in evidence.mailboxes.items():
        if mailbox.manner is Manner.GOOD:
            continue
        states = Counter(
            row.state
            for account in evidence.accounts
            for row in account.of("webhook")
            if row.recipient == user
        )
        requests = sum(len(found) for found in mailbox.requests.values())
        told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        yield mailbox.manner.value, states.total(), requests, told
