"""Sockets: whether each client got all of its inbox, in order, once."""

from scripts.chaos.cast import Resume
from scripts.chaos.evidence import Book, Evidence, Findings
from scripts.chaos.history import NEAR_MS, History
from scripts.chaos.ledger import Entry
from scripts.chaos.listeners import Frame, Listener
from scripts.chaos.plan import Role


def judge_sockets(findings: Findings, evidence: Evidence, book: Book) -> None:
    for user, listener in evidence.listeners.items():
        inbox = evidence.inboxes[user]
        findings.socket.expected += len(inbox.entries)
        _judge_frames(findings, evidence, listener)
        entries = {entry.offset: entry for entry in inbox.entries}
        _judge_contents(findings, evidence.history, entries, listener)
        for other in listener.others:
            findings.note(findings.socket, "gaps", f"{user} was told {other}")
        for visit in listener.visits:
            if visit.is_reset and not evidence.history.has_failed_over:
                findings.note(findings.socket, "gaps", f"{user} was reset: {visit}")
    for rows in book.by_event.values():
        for row in rows:
            has_socket = row.recipient in evidence.listeners
            if has_socket and row.state != "delivered":
                findings.note(findings.socket, "unfinished", f"{row.id} is {row.state}")
            elif not has_socket and row.state != "pending":
                words = f"{row.id} is {row.state}, but {row.recipient} has no socket"
                findings.note(findings.socket, "contradictions", words)


def _judge_contents(
    findings: Findings, history: History, inbox: dict[int, Entry], listener: Listener
) -> None:
    """Whether each offset came with what the inbox has there."""
    got: set[int] = set()
    for frame in listener.frames:
        entry = inbox.get(frame.offset)
        if entry is not None and (entry.type, entry.post) == (frame.type, frame.post):
            got.add(frame.offset)
        elif history.renumbers(frame.at_ms):
            findings.socket.renumbered += 1
        else:
            words = f"{listener.user} got {frame}, in the inbox is {entry}"
            findings.note(findings.socket, "changed", words)
    findings.socket.received += len(got)
    for offset in sorted(inbox.keys() - got):
        findings.note(findings.socket, "lost", f"{listener.user} never got {inbox[offset]}")


def _judge_frames(findings: Findings, evidence: Evidence, listener: Listener) -> None:
    """On one connection offsets go up by one, from where it was asked to begin."""
    first: dict[int, Frame] = {}
    last: Frame | None = None
    for frame in listener.frames:
        _judge_step(findings, listener, last, frame)
        seen = first.setdefault(frame.offset, frame)
        if seen is not frame:
            _judge_repeat(findings, evidence.history, listener, seen, frame)
        last = frame


def _judge_step(findings: Findings, listener: Listener, last: Frame | None, frame: Frame) -> None:
    user, visit = listener.user, listener.visits[frame.connection]
    if last is not None and last.connection == frame.connection:
        before: int | None = last.offset
    else:
        before = visit.after
    if before is None or frame.offset == before + 1:
        return
    words = f"{user} got {frame.offset} after {before} on connection {frame.connection}"
    if frame.offset > before + 1:
        findings.note(findings.socket, "gaps", words)
    else:
        findings.note(findings.socket, "wrong_order", words)


def _judge_repeat(
    findings: Findings, history: History, listener: Listener, seen: Frame, frame: Frame
) -> None:
    if _is_explained(history, listener, seen) or listener.visits[frame.connection].is_reset:
        findings.socket.duplicates_explained += 1
    else:
        ended = listener.visits[seen.connection]
        words = f"{listener.user} ({listener.manner.resume}) got {frame} again, after {ended}"
        findings.note(findings.socket, "duplicates_unexplained", words)


def _is_explained(history: History, listener: Listener, seen: Frame) -> bool:
    """Whoever resumes by offset gets nothing twice. Whoever resumes by acknowledgements gets again
    what was not noted before the connection ended, or while the gateway or the store was away."""
    if listener.manner.resume is Resume.AFTER:
        return False
    ended_ms = listener.visits[seen.connection].ended_ms
    is_late = ended_ms is not None and seen.at_ms >= ended_ms - NEAR_MS
    return is_late or history.crashed((Role.GATEWAY,), seen.at_ms, seen.at_ms)
