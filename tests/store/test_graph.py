"""The graph: every edge at both its ends, bounded, repeatable, listed in the order of bytes."""

import pytest

from app.errors import GraphFull
from app.store.client import Store
from app.store.graph import EdgeKind, Graph, Side
from tests.store.service import SHARDS, Service, users_of

FRIEND, FOLLOW, BLOCK = EdgeKind.FRIEND, EdgeKind.FOLLOW, EdgeKind.BLOCK
(ANN,), (BOB,), (EVE,) = (users_of(shard, 1) for shard in (0, 1, 2))


def graph_on(store: Store) -> Graph:
    return Service.on(store).graph


async def listed(graph: Graph, side: Side, user: str) -> list[str]:
    users, after = await graph.page(side, user, None, 100)
    assert after is None
    return users


async def test_friends_are_mutual_and_a_follow_is_not(store: Store) -> None:
    graph = graph_on(store)
    assert await graph.add(FRIEND, ANN, BOB)
    assert await graph.add(FOLLOW, ANN, EVE)
    assert await listed(graph, "friends", ANN) == [BOB]
    assert await listed(graph, "friends", BOB) == [ANN]
    assert await listed(graph, "follows", ANN) == [EVE]
    assert await listed(graph, "followers", EVE) == [ANN]
    assert await listed(graph, "follows", EVE) == await listed(graph, "followers", ANN) == []


async def test_an_edge_is_new_once_and_gone_once(store: Store) -> None:
    graph = graph_on(store)
    for kind in EdgeKind:
        assert await graph.add(kind, ANN, BOB)
        assert not await graph.add(kind, ANN, BOB)
        assert await graph.remove(kind, ANN, BOB)
        assert not await graph.remove(kind, ANN, BOB)
    for side in ("friends", "follows", "followers", "blocks"):
        assert await listed(graph, side, ANN) == await listed(graph, side, BOB) == []


async def test_a_friendship_is_the_same_from_either_end(store: Store) -> None:
    graph = graph_on(store)
    await graph.add(FRIEND, ANN, BOB)
    assert not await graph.add(FRIEND, BOB, ANN)
    assert await graph.remove(FRIEND, BOB, ANN)
    assert await listed(graph, "friends", ANN) == []


async def test_repeating_completes_what_a_crash_left_half_done(store: Store) -> None:
    graph = graph_on(store)
    here, there = graph._ends(FRIEND, ANN, BOB)
    for end, other in ((here, BOB), (there, ANN)):
        await store.execute("ZADD", end.key, 0, end.member)
        assert await listed(graph, "friends", other) == []
        assert await graph.add(FRIEND, ANN, BOB)
        assert await listed(graph, "friends", other) != []
        await store.execute("ZREM", end.key, end.member)
        assert await graph.remove(FRIEND, ANN, BOB)


@pytest.mark.parametrize("kind", [FOLLOW, BLOCK])
async def test_who_follows_or_blocks_is_bounded_but_not_who_is_followed(
    store: Store, kind: EdgeKind
) -> None:
    graph = graph_on(store)
    for number in range(3):
        await graph.add(kind, ANN, f"o{number}")
        await graph.add(kind, f"o{number}", EVE)
    with pytest.raises(GraphFull) as refused:
        await graph.add(kind, ANN, EVE)
    assert (refused.value.user, refused.value.limit) == (ANN, 3)
    for number in range(3, 6):
        assert await graph.add(kind, f"o{number}", EVE)
    assert not await graph.add(kind, ANN, "o0")  # there already: not refused


@pytest.mark.parametrize(("a", "b"), [(ANN, BOB), (BOB, ANN)])
async def test_a_friendship_that_one_end_has_no_room_for_is_at_neither(
    store: Store, a: str, b: str
) -> None:
    graph = graph_on(store)
    for number in range(3):
        await graph.add(FRIEND, ANN, f"o{number}")
    with pytest.raises(GraphFull) as refused:
        await graph.add(FRIEND, a, b)
    assert refused.value.user == ANN
    assert await listed(graph, "friends", ANN) == ["o0", "o1", "o2"]
    assert await listed(graph, "friends", BOB) == []


async def test_many_edges_at_once_get_an_answer_each(store: Store) -> None:
    graph = graph_on(store)
    await graph.add(FRIEND, ANN, BOB)
    answers = await graph.add_many(
        [
            (FRIEND, ANN, BOB),
            (FRIEND, ANN, EVE),
            (FOLLOW, BOB, EVE),
            (FRIEND, ANN, "o1"),
            (FRIEND, ANN, "o2"),
            (FRIEND, ANN, EVE),
        ]
    )
    assert [a if isinstance(a, bool) else type(a) for a in answers] == [
        *(False, True, True, True),
        *(GraphFull, False),
    ]
    assert await listed(graph, "friends", ANN) == sorted([BOB, EVE, "o1"])
    assert await listed(graph, "friends", "o2") == []


async def test_no_edges_at_all_are_fine(store: Store) -> None:
    assert await graph_on(store).add_many([]) == []


async def test_pages_go_on_after_the_last_id_in_the_order_of_bytes(store: Store) -> None:
    graph = Graph(store, SHARDS, friends_max=50, follows_max=50, blocks_max=50)
    names = [f"{name}{n}" for name in ("a", "B", "_", "z@x") for n in range(4)]
    await graph.add_many([(FRIEND, ANN, name) for name in names])
    seen: list[str] = []
    after: str | None = None
    while True:
        page, after = await graph.page("friends", ANN, after, 3)
        seen += page
        if after is None:
            break
        assert after == page[-1]
        assert len(page) == 3
    assert seen == sorted(names, key=str.encode)


async def test_a_page_goes_on_although_its_last_user_has_left(store: Store) -> None:
    graph = Graph(store, SHARDS, friends_max=50, follows_max=50, blocks_max=50)
    await graph.add_many([(FRIEND, ANN, f"o{n}") for n in range(4)])
    _, after = await graph.page("friends", ANN, None, 2)
    await graph.remove(FRIEND, ANN, "o1")
    assert await graph.page("friends", ANN, after, 2) == (["o2", "o3"], None)
