"""The observer finds every fault, and calls nothing a fault that is none."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from scripts.chaos.cast import Manner, Resume
from scripts.chaos.evidence import Channel
from scripts.chaos.ledger import Entry
from scripts.chaos.listeners import Frame, Visit
from scripts.chaos.plan import Act, Role
from tests.chaos.evidence import AT_MS, ENDPOINT, EVENTS, World, at_ms, world

Spoil = Callable[[World], Any]


def change_row(spoiled: World, post: str, index: int, **fields: Any) -> None:
    spoiled.rows[post][index] = replace(spoiled.rows[post][index], **fields)


def drop_from_inbox(spoiled: World) -> None:
    """carol's last event never got there."""
    del spoiled.rows["p1"][spoiled.row("p1", 2, "carol")]
    del spoiled.inboxes["carol"][2]


def put_in_twice(spoiled: World) -> None:
    row = spoiled.rows["p2"][spoiled.row("p2", 1, "carol")]
    spoiled.rows["p2"].append(replace(row, id="p2-1-1-1-0", offset=4))
    spoiled.inboxes["carol"].append(Entry(4, "post.created", "p2"))


def swap_offsets(spoiled: World) -> None:
    for post, offset in (("p1", 2), ("p2", 1)):
        change_row(spoiled, post, spoiled.row(post, 1, "carol"), offset=offset)
    inbox = spoiled.inboxes["carol"]
    inbox[0], inbox[1] = replace(inbox[1], offset=1), replace(inbox[0], offset=2)


def send_to_a_stranger(spoiled: World) -> None:
    row = spoiled.rows["p2"][spoiled.row("p2", 1, "carol")]
    spoiled.rows["p2"].append(replace(row, id="p2-1-0-2-0", recipient="dave"))


def skip_a_frame(spoiled: World) -> None:
    del spoiled.listener.frames[1]


def repeat_a_frame(spoiled: World) -> None:
    """On a second connection, though that was opened with the newest offset."""
    spoiled.listener.visits[0].ended_ms = at_ms(3)
    spoiled.listener.visits.append(Visit(3, at_ms(3)))
    frame = spoiled.listener.frames[2]
    spoiled.listener.frames.append(replace(frame, connection=1, at_ms=at_ms(4)))


def alter_a_frame(spoiled: World) -> None:
    frame = spoiled.listener.frames[1]
    spoiled.listener.frames[1] = replace(frame, post="p1")


def repeat_a_request(spoiled: World) -> None:
    first = spoiled.receipts[0]
    spoiled.receipts.append(replace(first, at_ms=at_ms(5), attempt=2))


def cancel_delivered(spoiled: World) -> None:
    """The post is deleted by its second version; what was said to be cancelled had come."""
    spoiled.posts[0].delete_asked_ms = at_ms(2)
    spoiled.changes["p1"] = {"is_deleted": True}
    change_row(spoiled, "p1", spoiled.row("p1", 1, "bob", ENDPOINT), state="cancelled")
    deletion = "post.deleted"
    for user in ("bob", "carol"):
        spoiled.inboxes[user][2] = Entry(3, deletion, "p1")
    spoiled.receipts[2] = replace(spoiled.receipts[2], type=deletion)
    spoiled.listener.frames[2] = replace(spoiled.listener.frames[2], type=deletion)


FAULTS: list[tuple[Spoil, str, str]] = [
    (drop_from_inbox, "inbox", "lost"),
    (put_in_twice, "inbox", "duplicates_unexplained"),
    (swap_offsets, "inbox", "wrong_order"),
    (send_to_a_stranger, "inbox", "contradictions"),
    (lambda w: w.inboxes["carol"].pop(0), "inbox", "gaps"),
    (lambda w: w.changes.update(p1={"fanned_out": False}), "inbox", "contradictions"),
    (lambda w: w.changes.update(p1={"data": {"n": 9}}), "inbox", "contradictions"),
    (lambda w: w.changes.update(p1={"is_deleted": True}), "inbox", "contradictions"),
    (lambda w: w.changes.update(p2={"counts": {"pending": 3}}), "inbox", "contradictions"),
    (lambda w: setattr(w.posts[1], "version", 2), "inbox", "contradictions"),
    (skip_a_frame, "socket", "gaps"),
    (skip_a_frame, "socket", "lost"),
    (repeat_a_frame, "socket", "duplicates_unexplained"),
    (alter_a_frame, "socket", "changed"),
    (lambda w: w.listener.others.append({"type": "gap"}), "socket", "gaps"),
    (lambda w: w.listener.visits.append(Visit(0, at_ms(3), is_reset=True)), "socket", "gaps"),
    (lambda w: change_row(w, "p1", 0, state="pending"), "socket", "unfinished"),
    (lambda w: change_row(w, "p1", 1, state="delivered"), "socket", "contradictions"),
    (lambda w: w.receipts.pop(1), "webhook", "lost"),
    (lambda w: w.rows["p2"].pop(2), "webhook", "lost"),
    (repeat_a_request, "webhook", "duplicates_unexplained"),
    (lambda w: change_row(w, "p2", 2, state="retrying"), "webhook", "unfinished"),
    (lambda w: change_row(w, "p2", 2, state="dead"), "webhook", "contradictions"),
    (cancel_delivered, "webhook", "contradictions"),
    (
        lambda w: w.receipts.append(replace(w.receipts[0], id="p9-1-0-endpoint01")),
        "webhook",
        "contradictions",
    ),
    (
        lambda w: w.receipts.__setitem__(0, replace(w.receipts[0], offset=7)),
        "webhook",
        "changed",
    ),
    (
        lambda w: w.receipts.__setitem__(0, replace(w.receipts[0], is_signed=False)),
        "webhook",
        "contradictions",
    ),
]


def test_a_world_in_which_all_is_well_has_no_fault() -> None:
    findings = world().judge()
    assert findings.faults == 0
    assert findings.complaints == []
    counts = [(c.expected, c.received) for c in findings.channels.values()]
    assert counts == [(6, 6), (3, 3), (3, 3)]


@pytest.mark.parametrize(("spoil", "channel", "fault"), FAULTS)
def test_every_fault_is_found(spoil: Spoil, channel: str, fault: str) -> None:
    spoiled = world()
    spoil(spoiled)
    findings = spoiled.judge()
    assert getattr(findings.channels[channel], fault) > 0
    assert findings.faults > 0
    assert len(findings.complaints) == findings.faults


def test_every_kind_of_fault_is_tried_above() -> None:
    assert {fault for _, _, fault in FAULTS} == set(Channel.FAULTS)


def test_an_accepted_post_that_is_not_there_is_lost_with_all_its_deliveries() -> None:
    spoiled = world()
    spoiled.missing.add("p2")
    findings = spoiled.judge()
    assert (findings.posts_lost, findings.inbox.lost) == (1, 2)


def test_an_answer_that_nobody_should_get_is_a_fault() -> None:
    spoiled = world()
    spoiled.complaints.append("PATCH /v1/posts/p1 was answered 500")
    assert spoiled.judge().faults == 1


# What explains what


@pytest.mark.parametrize(
    ("role", "act", "from_ms", "to_ms", "is_explained"),
    [
        (Role.SENDER, Act.KILL, 500, 500, True),
        (Role.SENDER, Act.STOP, -300, 4_000, True),
        (Role.STORE, Act.AWAY, -2_500, -500, True),
        (Role.STORE, Act.TERM, 200, 700, True),
        (Role.MACHINE, Act.STALL, 0, 800, True),
        # It ended in order, is another's, came before or long after, or after both.
        (Role.SENDER, Act.TERM, 500, 500, False),
        (Role.SENDER, Act.REMOVE, 500, 500, False),
        (Role.GATEWAY, Act.KILL, 500, 500, False),
        (Role.FANOUT, Act.STOP, 0, 4_000, False),
        (Role.SENDER, Act.KILL, -1_500, -1_500, False),
        (Role.SENDER, Act.KILL, 3_000, 3_000, False),
        (Role.STORE, Act.AWAY, 5_500, 7_000, False),
    ],
)
def test_only_a_crash_close_to_the_first_receipt_explains_a_second(
    role: Role, act: Act, from_ms: int, to_ms: int, is_explained: bool
) -> None:
    spoiled = world()
    repeat_a_request(spoiled)
    spoiled.crash(role, AT_MS + from_ms, AT_MS + to_ms, act)
    findings = spoiled.judge()
    assert findings.webhook.duplicates_explained == is_explained
    assert findings.webhook.duplicates_unexplained == (not is_explained)


def test_a_second_receipt_before_the_crash_is_not_explained_by_it() -> None:
    spoiled = world()
    spoiled.receipts.append(replace(spoiled.receipts[0], at_ms=AT_MS + 100))
    spoiled.crash(Role.SENDER, AT_MS + 500, AT_MS + 500)
    assert spoiled.judge().webhook.duplicates_unexplained == 1


def test_a_request_that_follows_a_refusal_is_no_duplicate() -> None:
    spoiled = world()
    spoiled.receipts.insert(0, replace(spoiled.receipts[0], at_ms=AT_MS - 500, status=500))
    findings = spoiled.judge()
    assert findings.faults == findings.webhook.duplicates_explained == 0


def test_a_crash_explains_that_what_came_was_cancelled() -> None:
    spoiled = world()
    cancel_delivered(spoiled)
    spoiled.crash(Role.SENDER, AT_MS + 200, AT_MS + 200)
    assert spoiled.judge().faults == 0


def test_whoever_resumes_by_acknowledgements_may_get_again_what_was_not_noted() -> None:
    for seen_ms, is_explained in ((at_ms(2), True), (at_ms(3) - 5_000, False)):
        spoiled = world()
        repeat_a_frame(spoiled)
        listener = spoiled.listener
        listener.manner = Manner(Resume.EXPLICIT, False, 10.0)
        listener.visits[1].after = None
        listener.frames[2] = replace(listener.frames[2], at_ms=seen_ms)
        findings = spoiled.judge()
        assert findings.socket.duplicates_explained == is_explained
        assert findings.socket.duplicates_unexplained == (not is_explained)


def test_a_frame_again_on_the_same_connection_is_out_of_order() -> None:
    spoiled = world()
    spoiled.listener.frames.append(Frame(at_ms(4), 0, 2, "post.created", "p2"))
    assert spoiled.judge().socket.wrong_order == 1


# What a fail-over may lose


def renumber(spoiled: World) -> None:
    """bob saw at offset 2 what a fail-over took away and brought again, at another offset."""
    frame = spoiled.listener.frames[1]
    spoiled.listener.frames[1] = replace(frame, post="p1", type="post.updated")
    spoiled.listener.visits.append(Visit(0, at_ms(4), is_reset=True))
    for index, (post, _, type_) in enumerate(EVENTS):
        spoiled.listener.frames.append(Frame(at_ms(4), 1, index + 1, type_, post))
    spoiled.receipts[1] = replace(spoiled.receipts[1], offset=4)


def test_what_was_pushed_shortly_before_a_fail_over_may_be_renumbered() -> None:
    spoiled = world()
    renumber(spoiled)
    spoiled.crash(Role.STORE, at_ms(1) + 300, at_ms(3))
    spoiled.history.incidents[0].fails_over = True
    findings = spoiled.judge()
    assert findings.complaints == []
    assert (findings.socket.renumbered, findings.webhook.renumbered) == (1, 1)
    assert findings.socket.duplicates_explained == 3


def test_a_crash_without_a_fail_over_renumbers_nothing() -> None:
    spoiled = world()
    renumber(spoiled)
    spoiled.crash(Role.STORE, at_ms(1) + 300, at_ms(3))
    findings = spoiled.judge()
    assert findings.socket.changed == findings.webhook.changed == findings.socket.gaps == 1


# What is taken back


def take_back(spoiled: World) -> None:
    """The second post is deleted before it was fanned out, if it ever was."""
    spoiled.posts[1].delete_asked_ms = AT_MS + 2_000
    spoiled.posts[1].version = spoiled.versions["p2"] = 2
    spoiled.changes["p2"] = {"is_deleted": True}
    spoiled.rows["p2"] = []
    spoiled.receipts.pop(1)
    spoiled.listener.frames.pop(1)
    spoiled.listener.frames[1] = replace(spoiled.listener.frames[1], offset=2)
    spoiled.receipts[1] = replace(spoiled.receipts[1], offset=2)
    for user in ("bob", "carol"):
        del spoiled.inboxes[user][1]
        spoiled.inboxes[user][1] = replace(spoiled.inboxes[user][1], offset=2)
    for index, row in enumerate(spoiled.rows["p1"]):
        if row.version == 2:
            change_row(spoiled, "p1", index, offset=2)


def test_a_post_deleted_while_fan_out_was_held_up_need_not_come() -> None:
    spoiled = world()
    take_back(spoiled)
    spoiled.crash(Role.FANOUT, AT_MS - 3_000, AT_MS - 3_000)
    findings = spoiled.judge()
    assert findings.faults == 0
    assert findings.inbox.withdrawn == 4  # two versions to two people
    assert findings.inbox.expected == findings.inbox.received + 4


def test_a_post_deleted_long_after_it_was_accepted_has_to_come() -> None:
    spoiled = world()
    take_back(spoiled)
    assert spoiled.judge().inbox.lost == 4


def test_what_was_cancelled_by_a_deletion_is_not_lost() -> None:
    spoiled = world()
    cancel_delivered(spoiled)
    del spoiled.receipts[0]
    findings = spoiled.judge()
    assert (findings.faults, findings.webhook.withdrawn) == (0, 1)
