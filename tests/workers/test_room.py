import asyncio

from workers.room import Room


def test_whoever_waits_is_woken_when_there_is_room_and_only_then():
    room, one, two = Room(10), asyncio.Event(), asyncio.Event()
    room.take(12, 0)
    assert (room.held, room.left, room.is_full) == (12, 0, True)
    room.wait(one)
    room.wait(two)
    room.give(2, 0)
    room.wait(two)
    assert room.paused == 2
    assert not one.is_set()
    room.give(1, 0)
    assert one.is_set()
    assert two.is_set()
    assert (room.left, room.is_full) == (1, False)


def test_large_bodies_fill_it_as_well():
    room, waiting = Room(10, bytes_max=100), asyncio.Event()
    room.take(1, 99)
    assert room.left == 9
    room.take(1, 1)
    assert (room.left, room.is_full) == (0, True)
    room.wait(waiting)
    assert room.paused == 1
    room.give(1, 0)
    assert not waiting.is_set()
    room.give(0, 50)
    assert waiting.is_set()


def test_a_waiter_is_woken_once_and_one_that_has_left_not_at_all():
    room, one, two = Room(1), asyncio.Event(), asyncio.Event()
    room.take(3, 0)
    room.wait(one)
    room.wait(two)
    room.forget(two)
    room.give(3, 0)
    assert one.is_set()
    assert not two.is_set()
    one.clear()
    room.take(1, 0)
    room.give(1, 0)
    assert not one.is_set()
