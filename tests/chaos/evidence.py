"""A small world in which all is well, to be spoiled in one place by a test.

alice posts twice and edits her first post. bob has a socket and a webhook, carol has neither.
"""

from dataclasses import dataclass, field
from typing import Any

from app.commands.resume import Place
from scripts.chaos.cast import Hook, Manner, Resume
from scripts.chaos.evidence import Evidence, Findings
from scripts.chaos.history import History, Incident
from scripts.chaos.hooks import Receipt
from scripts.chaos.ledger import Account, Entry, InboxRead, Row
from scripts.chaos.listeners import Frame, Listener, Visit
from scripts.chaos.load import Written
from scripts.chaos.oracle import judge
from scripts.chaos.plan import Act, Role

AUDIENCE = frozenset({"bob", "carol"})
ENDPOINT = "endpoint01"
EVENTS = (("p1", 1, "post.created"), ("p2", 1, "post.created"), ("p1", 2, "post.updated"))
AT_MS = 100_000  # of the first event; the others come a second apart


def at_ms(index: int) -> int:
    return AT_MS + 1_000 * index


@dataclass
class World:
    """Lists and dictionaries, to be changed at will."""

    posts: list[Written]
    rows: dict[str, list[Row]]
    versions: dict[str, int]
    inboxes: dict[str, list[Entry]]
    receipts: list[Receipt]
    listener: Listener
    history: History = field(default_factory=History)
    complaints: list[str] = field(default_factory=list)
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)  # of accounts
    missing: set[str] = field(default_factory=set)

    def crash(self, role: Role, from_ms: int, to_ms: int, act: Act = Act.KILL) -> None:
        self.history.incidents.append(Incident(act, role, f"{role}-1", from_ms, to_ms))

    def row(self, post: str, version: int, user: str, endpoint: str | None = None) -> int:
        """Where in `rows[post]` a row stands."""
        return next(
            index
            for index, row in enumerate(self.rows[post])
            if (row.version, row.recipient, row.endpoint) == (version, user, endpoint)
        )

    def account(self, post: str) -> Account | None:
        if post in self.missing:
            return None
        counts = dict.fromkeys(("pending", "retrying", "delivered", "dead", "cancelled"), 0)
        for row in self.rows[post]:
            counts[row.state] += 1
        data = next(one.data for one in self.posts if one.id == post)
        fields: dict[str, Any] = {
            "version": self.versions[post],
            "is_deleted": False,
            "data": data,
            "fanned_out": True,
            "counts": counts,
            "rows": self.rows[post],
        }
        return Account(**{**fields, **self.changes.get(post, {})})

    def judge(self) -> Findings:
        inboxes = {
            user: InboxRead(len(entries), 0, entries, None)
            for user, entries in self.inboxes.items()
        }
        return judge(
            Evidence(
                posts=self.posts,
                accounts={post: self.account(post) for post in self.versions},
                inboxes=inboxes,
                endpoints={ENDPOINT: Hook("bob", ("*",), 0.0, 0.0)},
                receipts=self.receipts,
                listeners={"bob": self.listener},
                history=self.history,
                complaints=self.complaints,
            )
        )


def world() -> World:
    posts = [
        Written(f"p{n + 1}", "alice", "post", AUDIENCE, n, AT_MS, AT_MS, {"n": n}) for n in range(2)
    ]
    posts[0].version = 2
    rows: dict[str, list[Row]] = {"p1": [], "p2": []}
    receipts: list[Receipt] = []
    frames: list[Frame] = []
    for index, (post, version, type_) in enumerate(EVENTS):
        offset, id_ = index + 1, f"{post}-{version}-0-{ENDPOINT}"
        rows[post] += [
            Row(f"{post}-{version}-0-0-0", version, "bob", offset, None, "delivered", 1),
            Row(f"{post}-{version}-0-1-0", version, "carol", offset, None, "pending", 0),
            Row(id_, version, "bob", offset, ENDPOINT, "delivered", 1),
        ]
        sent = (ENDPOINT, id_, 204, True, 1, type_, "bob", offset, post)
        receipts.append(Receipt(at_ms(index), *sent))
        frames.append(Frame(at_ms(index), 0, offset, type_, post))
    entries = [Entry(n + 1, type_, post) for n, (post, _, type_) in enumerate(EVENTS)]
    listener = Listener("bob", Manner(Resume.AFTER, False, 10.0), "token", frames)
    listener.visits.append(Visit(0, AT_MS))
    listener.place = Place(after=3)
    inboxes = {"bob": entries, "carol": list(entries)}
    return World(posts, rows, {"p1": 2, "p2": 1}, inboxes, receipts, listener)
