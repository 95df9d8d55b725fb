"""Load processes: told what to do, failing in words, ending with whoever started them."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from app.errors import CommandFailed
from app.receiver import Receiver
from app.receiver.behaviour import status
from app.receiver.misbehaviour import hang
from scripts.load.arrivals import Kind
from scripts.load.load_process import LoadProcess
from scripts.load.orders import now_us
from scripts.load.poster import post_body
from scripts.load.samples import untold
from tests.wait import wait_until


def nothing(samples: list[Any]) -> None:
    raise AssertionError(f"samples of nothing: {samples}")


async def test_an_order_is_carried_out_and_answered(tmp_path: Path):
    async with LoadProcess("poster", tmp_path, nothing) as poster:
        assert await poster.ask("count") == {"posts": 0}


async def test_an_order_that_fails_says_so_and_the_next_one_is_answered(tmp_path: Path):
    async with LoadProcess("receivers", tmp_path, nothing) as receivers:
        with pytest.raises(CommandFailed, match="KeyError: 'nobody'"):
            await receivers.ask("drop", group="nobody")
        assert await receivers.ask("count") == {}


async def test_a_process_that_dies_fails_what_was_asked_of_it(tmp_path: Path):
    async with LoadProcess("poster", tmp_path, nothing) as poster:
        await poster.ask("count")
        arrivals = [[60_000_000, 0, "p"]]  # in a minute
        order = poster.ask("post", phase=0, begin_us=now_us(), authors=["a"], arrivals=arrivals)
        asked = asyncio.ensure_future(order)
        await asyncio.sleep(0)
        os.kill(poster.pid, signal.SIGKILL)
        with pytest.raises(CommandFailed, match=r"poster ended.*poster\.log"):
            await asked
        with pytest.raises(CommandFailed, match="poster ended"):
            await poster.ask("count")


async def test_a_process_ends_with_its_orders(tmp_path: Path):
    async with LoadProcess("sockets", tmp_path, nothing) as sockets:
        await sockets.ask("count")
        pid = sockets.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_posts_go_out_at_their_time_whatever_became_of_earlier_ones(tmp_path: Path):
    """The first is never answered; the others do not wait for it."""
    taken: list[Any] = []
    async with (
        LoadProcess("poster", tmp_path, taken.extend) as poster,
        Receiver() as api,
    ):
        api.script.append(hang())
        api.default = status(202)
        await poster.ask("open", url=f"http://127.0.0.1:{api.port}", key="k")
        begin_us = now_us()
        order = poster.ask(
            "post",
            phase=4,
            begin_us=begin_us,
            authors=["ann", "bob"],
            arrivals=[[0, 0, "p"], [50_000, 1, "l"], [100_000, 0, "c"]],
        )
        asked = asyncio.ensure_future(order)
        await wait_until(lambda: api.tally.requests == 3)
        api.drop_connections()
        answer = await asked
    assert answer["accepted"] == [1, 2]
    assert sum(answer["refused"].values()) == 1
    latencies = {(key.phase, key.kind): list(values) for key, values in untold(taken)}
    assert set(latencies) == {(4, "l"), (4, "c")}


async def test_receivers_count_what_they_accept_and_tell_its_age(tmp_path: Path):
    taken: list[Any] = []
    async with LoadProcess("receivers", tmp_path, taken.extend) as receivers:
        order = {"group": "healthy", "net": 99, "hosts": 2, "ports": 2, "certificate": None}
        answer = await receivers.ask("open", **order)
        assert len(set(answer["urls"])) == 4
        assert answer["urls"][0].startswith("http://127.99.0.1:")
        assert answer["urls"][-1].startswith("http://127.99.0.2:")
        body = post_body("ann", Kind.POST, now_us(), 0)
        for attempt in (1, 2):
            assert await _post(answer["urls"][0], body, attempt) == 204
        await receivers.ask("manner", group="healthy", delays_s=[0.0], fail=1.0)
        assert await _post(answer["urls"][1], body, 1) == 500
        counted = (await receivers.ask("count"))["healthy"]
    assert counted == {
        "requests": 3,
        "accepted": 1,
        "retries": 1,
        "duplicates": 1,
        "connections": 3,
        "resumed": 0,
    }
    assert sum(len(values) for _, values in untold(taken)) == 1


async def _post(url: str, body: bytes, attempt: int) -> int:
    host, _, port = url.removeprefix("http://").removesuffix("/hook").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(
            b"POST /hook HTTP/1.1\r\nhost: x\r\nwebhook-id: one\r\nconnection: close\r\n"
            b"moments-attempt: %d\r\ncontent-length: %d\r\n\r\n%b" % (attempt, len(body), body)
        )
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()
        await writer.wait_closed()
