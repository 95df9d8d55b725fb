"""Whether all came as it should have: friends, ledger, receivers and sockets held together."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.demo.cast import Cast, Manner
from app.demo.ledger import Account, Row
from app.demo.receivers import Mailbox
from app.demo.service import RETRY_SCHEDULE_S
from app.demo.sockets import Client
from app.receiver import Received

ATTEMPTS = len(RETRY_SCHEDULE_S) + 1

# State, and the statuses that the receiver meant to answer with, attempt by attempt.
_SPECIAL = {
    Manner.FAILS_TWICE: ("delivered", [500, 500, 204]),
    Manner.UNAVAILABLE: ("dead", [503] * ATTEMPTS),
    Manner.SILENT: ("dead", [204] * ATTEMPTS),  # it would accept, if it ever answered
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """All there is to judge by."""

    cast: Cast
    accounts: Sequence[Account]
    mailboxes: Mapping[str, Mailbox]
    clients: Mapping[str, Client]
    endpoint_states: Mapping[str, str]


def complaints(evidence: Evidence) -> Iterator[str]:
    """What is not as it should be, a sentence each; none when all is well."""
    for account in evidence.accounts:
        yield from _of_audience(account, evidence.cast)
        yield from _of_sockets(account, evidence.cast)
        yield from _of_webhooks(account, evidence)
    yield from _of_strays(evidence)
    yield from _of_gone(evidence)
    for client in evidence.clients.values():
        yield from _of_client(client, evidence)


def _of_audience(account: Account, cast: Cast) -> Iterator[str]:
    post, friends = account.post, cast.friends[account.post.author]
    if not account.fanned_out:
        yield f"{post.id} is not fanned out"
    for channel, expected in (("socket", friends), ("webhook", friends & cast.manners.keys())):
        found = Counter(row.recipient for row in account.of(channel))
        if found != Counter(expected):
            odd = sorted(set(found) ^ set(expected)) or [n for n, k in found.items() if k > 1]
            yield f"{post.id}: wrong {channel} recipients, such as {odd[0]}"
    counted = account.counted
    for state, count in account.counts.items():
        if counted[state] != count:
            yield f"{post.id}: {count} counted as {state}, {counted[state]} in the ledger"


def _of_sockets(account: Account, cast: Cast) -> Iterator[str]:
    sockets = set(cast.sockets)
    for row in account.of("socket"):
        expected = "delivered" if row.recipient in sockets else "pending"
        if row.state != expected:
            yield f"{row.id} to {row.recipient} is {row.state}, not {expected}"


def _of_webhooks(account: Account, evidence: Evidence) -> Iterator[str]:
    for row in account.of("webhook"):
        mailbox = evidence.mailboxes[row.recipient]
        yield from _of_webhook(row, mailbox.manner, mailbox.requests.get(row.id, []))


def _of_webhook(row: Row, manner: Manner, requests: Sequence[Received]) -> Iterator[str]:
    statuses = [received.status for received in requests]
    if row.attempts != len(requests):
        yield f"{row.id}: the ledger has {row.attempts} attempts, the receiver {len(requests)}"
    if [received.attempt for received in requests] != [str(n + 1) for n in range(len(requests))]:
        yield f"{row.id}: attempts came with wrong numbers"
    if not all(received.verdict for received in requests):
        yield f"{row.id}: a request came with a wrong signature"
    if not _is_expected(row.state, manner, statuses):
        yield f"{row.id} is {row.state} after answers {statuses} of one who {manner.value}"


def _is_expected(state: str, manner: Manner, statuses: list[int]) -> bool:
    if manner is Manner.GOOD:
        return state == "delivered" and statuses == [204]
    if manner is Manner.GONE:  # what came after the endpoint was disabled waits for it
        return (state, statuses) in (("dead", [410]), ("pending", []))
    return (state, statuses) == _SPECIAL[manner]


def _of_strays(evidence: Evidence) -> Iterator[str]:
    known = {row.id for account in evidence.accounts for row in account.of("webhook")}
    for user, mailbox in evidence.mailboxes.items():
        for stray in mailbox.requests.keys() - known:
            yield f"{user} received {stray}, which is not in the ledger"


def _of_gone(evidence: Evidence) -> Iterator[str]:
    for user, manner in evidence.cast.manners.items():
        state = evidence.endpoint_states.get(user)
        if manner is Manner.GONE and state != "disabled":
            yield f"the endpoint of {user}, who answered 410, is {state}"


def _of_client(client: Client, evidence: Evidence) -> Iterator[str]:
    expected = Counter(
        account.post.id
        for account in evidence.accounts
        if client.user in evidence.cast.friends[account.post.author]
    )
    offsets = [frame.offset for frame in client.frames]
    if offsets != list(range(1, expected.total() + 1)):
        yield f"the socket of {client.user} got offsets {offsets}, not 1 to {expected.total()}"
    if Counter(frame.post for frame in client.frames) != expected:
        yield f"the socket of {client.user} got other posts than its friends'"
    if client.others:
        yield f"the socket of {client.user} got {client.others[0]!r}"
