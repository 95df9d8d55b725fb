"""The observer's judgement: what was accepted held against what is said and what came."""

from collections import Counter
from collections.abc import Iterator

from scripts.chaos.evidence import Book, Evidence, Findings, kind
from scripts.chaos.judge_inbox import judge_inboxes
from scripts.chaos.judge_socket import judge_sockets
from scripts.chaos.judge_webhook import judge_webhooks
from scripts.chaos.ledger import Account
from scripts.chaos.load import Written
from scripts.chaos.plan import Role


def judge(evidence: Evidence) -> Findings:
    findings = Findings()
    book = Book.of(evidence.accounts)
    for complaint in evidence.complaints:
        findings.refused += 1
        findings.complaints.append(f"refused: {complaint}")
    for post in evidence.posts:
        account = evidence.accounts.get(post.id)
        if account is None:
            _lose(findings, evidence, post)
            continue
        for words in _contradictions(post, account):
            findings.note(findings.inbox, "contradictions", words)
        _judge_post(findings, evidence, book, post, account)
    judge_inboxes(findings, evidence, book)
    judge_webhooks(findings, evidence, book)
    judge_sockets(findings, evidence, book)
    return findings


def _lose(findings: Findings, evidence: Evidence, post: Written) -> None:
    """An accepted post that is not there, and with it all its deliveries."""
    findings.posts_lost += 1
    findings.complaints.append(f"lost: the accepted post {post.id} of {post.author} is not there")
    findings.inbox.expected += len(post.audience)
    findings.inbox.lost += len(post.audience)


def _contradictions(post: Written, account: Account) -> Iterator[str]:
    """What is said of a post that its author knows better."""
    if account.version < post.version:
        yield f"{post.id} is at version {account.version}, {post.version} was accepted"
    if account.is_deleted != post.is_deleted:
        yield f"{post.id} is {'' if account.is_deleted else 'not '}deleted"
    # A lost call may have changed it once more since: then there is a version more.
    if account.version == post.version and not account.is_deleted and account.data != post.data:
        yield f"{post.id} has {account.data}, accepted was {post.data}"
    if not account.fanned_out:
        yield f"{post.id} is not fanned out"
    counted = Counter(row.state for row in account.rows)
    if counted != Counter(account.counts):
        yield f"{post.id} is counted as {account.counts}, its rows are {dict(counted)}"


def _judge_post(
    findings: Findings, evidence: Evidence, book: Book, post: Written, account: Account
) -> None:
    """Whether each event of a post is in the inbox of each of its audience, once, and in nobody
    else's; and whether there is a delivery for each endpoint that wants it."""
    strangers = {row.recipient for row in account.rows} - post.audience
    for user in strangers:
        findings.note(findings.inbox, "contradictions", f"{post.id} went to {user}, a stranger")
    versions = range(1, account.version + 1)
    for user in post.audience:
        found = {version: book.by_event.get((post.id, version, user), []) for version in versions}
        if not any(found.values()) and _is_withdrawn(evidence, post, account):
            findings.inbox.expected += len(versions)
            findings.inbox.withdrawn += len(versions)
            continue
        for version, rows in found.items():
            findings.inbox.expected += 1
            what = f"{post.id} version {version} to {user}"
            if not rows:
                findings.note(findings.inbox, "lost", f"{what} is in no inbox")
            else:
                findings.inbox.received += 1
            for row in rows[1:]:
                findings.note(
                    findings.inbox, "duplicates_unexplained", f"{what} again at {row.offset}"
                )
            if rows:
                _judge_endpoints(findings, evidence, book, post, account, (version, user))


def _judge_endpoints(
    findings: Findings,
    evidence: Evidence,
    book: Book,
    post: Written,
    account: Account,
    event: tuple[int, str],
) -> None:
    """Each endpoint of a recipient has one delivery of each event it wants, else none."""
    version, user = event
    type_ = f"{post.type}.{kind(account, version)}"
    for endpoint, hook in evidence.endpoints.items():
        if hook.user != user:
            continue
        rows = book.webhooks.get((post.id, version, endpoint), [])
        wanted = hook.wants(type_)
        findings.webhook.expected += wanted
        if len(rows) != wanted:
            fault = "lost" if wanted and not rows else "contradictions"
            words = f"{len(rows)} deliveries of {post.id} version {version} to {endpoint}"
            findings.note(findings.webhook, fault, words)


def _is_withdrawn(evidence: Evidence, post: Written, account: Account) -> bool:
    """Whether it may have been deleted before it was fanned out: if that was held up."""
    if not account.is_deleted or post.delete_asked_ms is None:
        return False
    return evidence.history.held_up((Role.FANOUT,), post.asked_ms, post.delete_asked_ms)
