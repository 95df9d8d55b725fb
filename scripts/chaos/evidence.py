"""All there is to judge by: what was accepted, what the service says, and what really came."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scripts.chaos.cast import Hook
from scripts.chaos.history import History
from scripts.chaos.hooks import Receipt
from scripts.chaos.ledger import Account, InboxRead, Row
from scripts.chaos.listeners import Listener
from scripts.chaos.load import Written

Event = tuple[str, int]  # post, version


@dataclass(frozen=True, slots=True)
class Evidence:
    """`accounts` by post, None: not found. `endpoints` are the receivers by the id they were
    registered as. `complaints` are answers that nobody should get."""

    posts: Sequence[Written]
    accounts: Mapping[str, Account | None]
    inboxes: Mapping[str, InboxRead]
    endpoints: Mapping[str, Hook]
    receipts: Sequence[Receipt]
    listeners: Mapping[str, Listener]
    history: History
    complaints: Sequence[str] = ()


@dataclass(slots=True)
class Channel:
    """What was counted of one way to receive."""

    expected: int = 0
    received: int = 0
    withdrawn: int = 0  # of a post deleted before
    lost: int = 0
    duplicates_explained: int = 0
    duplicates_unexplained: int = 0
    renumbered: int = 0  # by a fail-over that lost what was pushed already
    wrong_order: int = 0
    gaps: int = 0
    changed: int = 0  # the same offset or id with other contents
    unfinished: int = 0  # without a final state
    contradictions: int = 0  # what is said and what came

    FAULTS = (
        "lost",
        "duplicates_unexplained",
        "wrong_order",
        "gaps",
        "changed",
        "unfinished",
        "contradictions",
    )


@dataclass(slots=True)
class Findings:
    """What the observer found. `complaints` are its faults in words, one each."""

    posts_lost: int = 0
    refused: int = 0  # answers that nobody should get
    inbox: Channel = field(default_factory=Channel)
    socket: Channel = field(default_factory=Channel)
    webhook: Channel = field(default_factory=Channel)
    complaints: list[str] = field(default_factory=list[str])

    @property
    def channels(self) -> dict[str, Channel]:
        return {"inbox": self.inbox, "socket": self.socket, "webhook": self.webhook}

    @property
    def faults(self) -> int:
        of_channels = sum(
            getattr(channel, fault)
            for channel in self.channels.values()
            for fault in Channel.FAULTS
        )
        return self.posts_lost + self.refused + of_channels

    def note(self, channel: Channel, fault: str, words: str) -> None:
        setattr(channel, fault, getattr(channel, fault) + 1)
        self.complaints.append(f"{fault.replace('_', ' ')}: {words}")


@dataclass(slots=True)
class Book:
    """The rows of all accounts, to be looked up."""

    by_event: dict[tuple[str, int, str], list[Row]] = field(default_factory=dict)
    """Socket rows by post, version and recipient."""
    by_offset: dict[tuple[str, int], list[tuple[str, Row]]] = field(default_factory=dict)
    """Socket rows, with their post, by recipient and offset."""
    webhooks: dict[tuple[str, int, str], list[Row]] = field(default_factory=dict)
    """Webhook rows by post, version and endpoint."""
    by_id: dict[str, tuple[str, Row]] = field(default_factory=dict)
    """Webhook rows, with their post, by id."""

    @classmethod
    def of(cls, accounts: Mapping[str, Account | None]) -> "Book":
        book = cls()
        for post, account in accounts.items():
            for row in account.rows if account is not None else ():
                book.add(post, row)
        return book

    def add(self, post: str, row: Row) -> None:
        if row.endpoint is None:
            self.by_event.setdefault((post, row.version, row.recipient), []).append(row)
            self.by_offset.setdefault((row.recipient, row.offset), []).append((post, row))
        else:
            self.webhooks.setdefault((post, row.version, row.endpoint), []).append(row)
            self.by_id[row.id] = (post, row)


def kind(account: Account, version: int) -> str:
    """What an event of a post is, by its version."""
    if version == 1:
        return "created"
    return "deleted" if account.is_deleted and version == account.version else "updated"
