"""Inboxes: whether offsets have no gap, hold what the ledger says, and keep each author's order."""

from collections.abc import Sequence

from scripts.chaos.evidence import Book, Evidence, Findings, kind
from scripts.chaos.ledger import Entry, InboxRead


def judge_inboxes(findings: Findings, evidence: Evidence, book: Book) -> None:
    for user, inbox in evidence.inboxes.items():
        _judge_offsets(findings, user, inbox)
        _judge_contents(findings, evidence, book, user, inbox.entries)
        _judge_order(findings, evidence, book, user, inbox.entries)


def _judge_offsets(findings: Findings, user: str, inbox: InboxRead) -> None:
    offsets = [entry.offset for entry in inbox.entries]
    if inbox.first_gap is not None:
        findings.note(findings.inbox, "gaps", f"the inbox of {user} lacks {inbox.first_gap}")
    elif offsets != list(range(1, inbox.head + 1)):
        findings.note(findings.inbox, "gaps", f"the inbox of {user} is not 1 to {inbox.head}")
    if inbox.cursor > inbox.head:
        words = f"the cursor of {user} is at {inbox.cursor}, the head at {inbox.head}"
        findings.note(findings.inbox, "contradictions", words)


def _judge_contents(
    findings: Findings, evidence: Evidence, book: Book, user: str, entries: Sequence[Entry]
) -> None:
    for entry in entries:
        rows = book.by_offset.get((user, entry.offset), [])
        said = [(post, _word(evidence, post, row.version)) for post, row in rows]
        if said != [(entry.post, entry.type.rpartition(".")[2])]:
            words = f"offset {entry.offset} of {user} is {entry.type} of {entry.post}, not {said}"
            findings.note(findings.inbox, "contradictions", words)


def _word(evidence: Evidence, post: str, version: int) -> str:
    account = evidence.accounts.get(post)
    return "" if account is None else kind(account, version)


def _judge_order(
    findings: Findings, evidence: Evidence, book: Book, user: str, entries: Sequence[Entry]
) -> None:
    """The posts of one author come as they were accepted, the versions of one post in theirs."""
    written = {post.id: post for post in evidence.posts}
    newest: dict[str, int] = {}
    versions: dict[str, int] = {}
    for entry in entries:
        post = written.get(entry.post)
        for _, row in book.by_offset.get((user, entry.offset), []):
            before = versions.get(entry.post, 0)
            if row.version <= before:
                words = f"{user} got version {row.version} of {entry.post} after {before}"
                findings.note(findings.inbox, "wrong_order", words)
            versions[entry.post] = row.version
            if post is not None and row.version == 1:
                if post.number <= newest.get(post.author, -1):
                    words = f"{user} got {entry.post} after a later one of {post.author}"
                    findings.note(findings.inbox, "wrong_order", words)
                newest[post.author] = post.number
