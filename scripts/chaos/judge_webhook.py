"""Webhooks: whether every delivery came, came once, was what it said, and is recorded as it was."""

from collections import defaultdict
from collections.abc import Sequence

from scripts.chaos.evidence import Book, Evidence, Findings, kind
from scripts.chaos.hooks import Receipt
from scripts.chaos.ledger import FINAL, Row
from scripts.chaos.plan import Role

_SENDING = (Role.SENDER,)


def judge_webhooks(findings: Findings, evidence: Evidence, book: Book) -> None:
    by_id: defaultdict[str, list[Receipt]] = defaultdict(list)
    for receipt in evidence.receipts:
        by_id[receipt.id].append(receipt)
    for id_, receipts in by_id.items():
        if id_ not in book.by_id:
            words = f"{receipts[0].endpoint} was sent {id_}, which is in no ledger"
            findings.note(findings.webhook, "contradictions", words)
    for id_, (post, row) in book.by_id.items():
        receipts = by_id.get(id_, [])
        accepted = [receipt for receipt in receipts if receipt.is_accepted]
        _judge_state(findings, evidence, post, row, accepted)
        _judge_contents(findings, evidence, post, row, receipts)
        if accepted:
            _judge_repeats(findings, evidence, accepted[0], receipts)


def _judge_state(
    findings: Findings, evidence: Evidence, post: str, row: Row, accepted: Sequence[Receipt]
) -> None:
    webhook, what = findings.webhook, f"{row.id} is {row.state}"
    findings.webhook.received += bool(accepted)
    if row.state not in FINAL:
        findings.note(webhook, "unfinished", f"{what} after {row.attempts} attempts")
    elif not accepted:
        account = evidence.accounts[post]
        is_taken_back = account is not None and account.is_deleted and row.version < account.version
        if row.state == "cancelled" and is_taken_back:
            webhook.withdrawn += 1
        else:
            findings.note(webhook, "lost", f"{what} and never came")
    elif row.state != "delivered" and not _is_unrecorded(evidence, accepted):
        findings.note(webhook, "contradictions", f"{what}, but it was accepted")


def _is_unrecorded(evidence: Evidence, accepted: Sequence[Receipt]) -> bool:
    """Whether a crash explains that none of these was written down."""
    return all(
        evidence.history.crashed(_SENDING, receipt.at_ms, receipt.at_ms) for receipt in accepted
    )


def _judge_contents(
    findings: Findings, evidence: Evidence, post: str, row: Row, receipts: Sequence[Receipt]
) -> None:
    account = evidence.accounts[post]
    assert account is not None
    word = kind(account, row.version)
    for receipt in receipts:
        said = (receipt.endpoint, receipt.recipient, receipt.offset, receipt.post)
        is_right = receipt.type.endswith(f".{word}")
        if said != (row.endpoint, row.recipient, row.offset, post) or not is_right:
            if evidence.history.renumbers(receipt.at_ms):
                findings.webhook.renumbered += 1
            else:
                findings.note(findings.webhook, "changed", f"{row.id} came as {receipt}")
        if not receipt.is_signed:
            words = f"{row.id} came with a wrong signature"
            findings.note(findings.webhook, "contradictions", words)


def _judge_repeats(
    findings: Findings, evidence: Evidence, first: Receipt, receipts: Sequence[Receipt]
) -> None:
    for receipt in receipts[receipts.index(first) + 1 :]:
        if evidence.history.repeats(_SENDING, first.at_ms, receipt.at_ms):
            findings.webhook.duplicates_explained += 1
        else:
            words = f"{receipt.id} at {receipt.at_ms}, accepted at {first.at_ms}"
            findings.note(findings.webhook, "duplicates_unexplained", words)
