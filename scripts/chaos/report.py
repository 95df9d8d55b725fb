"""What is shown in the end: a table for people, JSON for programs."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from scripts.chaos.evidence import Channel
from scripts.chaos.plan import Act, Role
from scripts.chaos.run import Result

COMPLAINTS_MAX = 20

_ROWS = {
    "expected": "expected",
    "received": "received",
    "withdrawn": "taken back before",
    "lost": "lost",
    "duplicates_explained": "duplicates, by a crash",
    "duplicates_unexplained": "duplicates, unexplained",
    "renumbered": "renumbered, by a fail-over",
    "wrong_order": "wrong order",
    "gaps": "gaps",
    "changed": "changed contents",
    "unfinished": "without a final state",
    "contradictions": "contradictions",
}


def lines(result: Result) -> Iterator[str]:
    yield ""
    yield from _incidents(result)
    yield ""
    yield (
        f"accepted {result.accepted:,} posts ({result.tried_again:,} of them after a lost answer "
        f"or 503), {result.edits:,} edits, {result.deletions:,} deletions"
    )
    again = ", ".join(f"{count} by {why}" for why, count in sorted(result.refusals.items()))
    yield f"calls made again: {again or 'none'}"
    yield f"came {result.receipts:,} webhook requests, {result.frames:,} frames"
    yield ""
    channels = result.findings.channels
    yield f"{'deliveries':<27}" + "".join(f"{name:>12}" for name in channels)
    for name, words in _ROWS.items():
        counts = "".join(f"{getattr(channel, name):>12,}" for channel in channels.values())
        mark = "" if name not in Channel.FAULTS else "  " if counts.strip("0 ") == "" else " ✗"
        yield f"{words:<27}{counts}{mark}".rstrip()
    yield ""
    yield from _verdict(result)


def _incidents(result: Result) -> Iterator[str]:
    counts = result.history.counts()
    acts = [act for act in Act if any(act is found for _, found in counts)]
    yield f"{'done to':<12}" + "".join(f"{act:>10}" for act in acts)
    for role in Role:
        if any(role is found for found, _ in counts):
            yield f"{role:<12}" + "".join(f"{counts[role, act] or '':>10}" for act in acts)


def _verdict(result: Result) -> Iterator[str]:
    findings = result.findings
    for complaint in findings.complaints[:COMPLAINTS_MAX]:
        yield f"✗ {complaint}"
    if len(findings.complaints) > COMPLAINTS_MAX:
        yield f"  and {len(findings.complaints) - COMPLAINTS_MAX:,} more"
    if result.is_good:
        yield "✓ nothing is lost, and nothing came twice that a crash does not explain"
    else:
        yield f"✗ {findings.faults:,} faults; accepted posts lost: {findings.posts_lost:,}"


def as_json(result: Result) -> dict[str, Any]:
    findings = result.findings
    return {
        "options": asdict(result.options),
        "good": result.is_good,
        "incidents": {
            f"{role} {act}": count for (role, act), count in sorted(result.history.counts().items())
        },
        "accepted": result.accepted,
        "edits": result.edits,
        "deletions": result.deletions,
        "tried_again": result.tried_again,
        "refusals": result.refusals,
        "webhook_requests": result.receipts,
        "frames": result.frames,
        "posts_lost": findings.posts_lost,
        "refused": findings.refused,
        "channels": {name: asdict(channel) for name, channel in findings.channels.items()},
        "not_drained_in_time": result.late,
        "took_s": {name: round(value, 1) for name, value in result.took_s.items()},
        "complaints": findings.complaints[:1000],
    }
