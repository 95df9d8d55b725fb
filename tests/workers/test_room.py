import asyncio

from workers.room import Room


def test_whoever_waits_is_woken_when_there_is_room_and_only_then():
    room, one, two = Room(10), asyncio.Event(), asyncio.Event()
    room.take(12)
    assert (room.held, room.left) == (12, 0)
    room.wait(one)
    room.wait(two)
    room.give(2)
    assert not one.is_set()
    room.give(1)
    assert one.is_set()
    assert two.is_set()
    assert room.left == 1


def test_a_waiter_is_woken_once_and_one_that_has_left_not_at_all():
    room, one, two = Room(1), asyncio.Event(), asyncio.Event()
    room.take(3)
    room.wait(one)
    room.wait(two)
    room.forget(two)
    room.give(3)
    assert one.is_set()
    assert not two.is_set()
    one.clear()
    room.take(1)
    room.give(1)
    assert not one.is_set()
