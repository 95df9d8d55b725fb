"""The console's socket: who gets in, what is told, what ends it, and its bounds."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from app.console import socket as module
from app.domain.ids import is_post_id
from app.domain.post import Event, EventKind
from app.errors import StoreUnavailable
from tests.api.conftest import fan_out
from tests.api.served import Raw
from tests.console.conftest import SESSION_S, SOCKETS_MAX, Console
from tests.wait import wait_until


async def said(connection: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(5):
        return json.loads(await connection.recv())


async def tell(connection: ClientConnection, message: object) -> None:
    await connection.send(json.dumps(message))


async def closed(connection: ClientConnection) -> tuple[int, str]:
    """With which code and reason it is closed, whatever comes before."""
    async with asyncio.timeout(5):
        await connection.wait_closed()
    assert connection.close_code is not None
    return connection.close_code, connection.close_reason or ""


async def test_a_page_of_ours_is_told_the_figures_once_a_second(console: Console):
    async with console.socket() as connection:
        await tell(connection, console.watch())
        first, second = await said(connection), await said(connection)
    assert (first["type"], first["whole"], second["whole"]) == ("stats", True, False)
    assert first["stats"]["queues"]["posts"] == 0
    assert second["points"][0]["at"] > first["points"][-1]["at"]


async def test_a_post_is_followed_from_whole_to_what_changes(console: Console):
    post = str((await console.api.publish())["id"])
    assert is_post_id(post)
    await fan_out(
        console.api.services.store, Event(post, 1, EventKind.CREATED), ["bob", "cyd", "dan"]
    )
    async with console.socket() as connection:
        await tell(connection, console.watch(f"post:{post}"))
        whole = await said(connection)
        assert (whole["type"], whole["whole"], whole["fanned_out"]) == ("post", True, True)
        assert sorted(whole["users"]) == ["bob", "cyd", "dan"]
        assert (whole["settled"], whole["passed"]) == (False, [])
        await console.api.services.inbox.advance({"cyd": 1})
        change = await said(connection)
        assert (change["whole"], change["users"]) == (False, [])
        assert [whole["users"][number] for number in change["passed"]] == ["cyd"]


async def test_a_look_is_had_for_the_asking(console: Console):
    post = str((await console.api.publish())["id"])
    async with console.socket() as connection:
        await tell(connection, console.watch(f"post:{post}"))
        assert (await said(connection))["users"] == []
        await fan_out(console.api.services.store, Event(post, 1, EventKind.CREATED), ["bob"])
        await tell(connection, {"type": "look"})
        assert (await said(connection))["users"] == ["bob"]


async def test_a_post_that_is_not_there_is_told(console: Console):
    async with console.socket() as connection:
        await tell(connection, console.watch("post:01kg9ys7g0d2pf2d03"))
        assert (await said(connection))["type"] == "gone"


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://[", ""]
)
async def test_no_page_of_another_host_opens_a_socket(console: Console, origin: str):
    with pytest.raises(InvalidStatus) as refused:
        async with console.socket(origin=origin):
            pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("cookie", ["", "moments_session=none", "other=1"])
async def test_without_a_session_there_is_no_socket(console: Console, cookie: str):
    with pytest.raises(InvalidStatus) as refused:
        async with console.socket(cookie=cookie):
            pass
    assert refused.value.response.status_code == 403


async def test_a_key_opens_no_socket_of_the_console(console: Console):
    request = (
        f"GET {module.PATH} HTTP/1.1\r\nhost: 127.0.0.1:{console.served.port}\r\n"
        f"origin: {console.served.base}\r\nauthorization: {console.served.bearer['authorization']}"
        "\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with console.served.raw(request.encode()) as raw:
        assert (await raw.answer())[0] == 403


async def test_a_cookie_alone_is_told_nothing(console: Console):
    for wrong in ("", console.csrf[:-1], "é" * 9):
        async with console.socket() as connection:
            await tell(connection, console.watch(csrf=wrong))
            assert await closed(connection) == module.NOT_OUR_PAGE


@pytest.mark.parametrize(
    "wrong",
    [
        "not json",
        "[]",
        "7",
        "[" * 2_000,
        '{"type": "watch"}',
        '{"type": "look"}',
        '{"type": "watch", "topic": 7, "csrf": "CSRF"}',
        '{"type": "watch", "topic": "stats", "csrf": null}',
        '{"type": "watch", "topic": "no", "csrf": "CSRF"}',
        '{"type": "watch", "topic": "post", "csrf": "CSRF"}',
        '{"type": "watch", "topic": "post:no", "csrf": "CSRF"}',
        '{"type": "watch", "topic": "stats:01kg9ys7g0d2pf2d03", "csrf": "CSRF"}',
        b"\x00",
    ],
)
async def test_anything_but_a_first_message_as_it_should_be_closes(
    console: Console, wrong: str | bytes
):
    if isinstance(wrong, str):
        wrong = wrong.replace("CSRF", console.csrf)
    async with console.socket() as connection:
        await connection.send(wrong)
        assert await closed(connection) == module.BAD_MESSAGE


async def test_a_second_watch_closes(console: Console):
    async with console.socket() as connection:
        await tell(connection, console.watch())
        await said(connection)
        await tell(connection, console.watch())
        assert await closed(connection) == module.BAD_MESSAGE


async def test_a_first_message_has_to_come_in_time(
    console: Console, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(console.endpoint, "hello_timeout_s", 0.05)
    async with console.socket() as connection:
        assert await closed(connection) == module.LATE
    assert console.stats.console_limits == {"hello": 1}


async def test_only_so_many_browsers_watch(console: Console):
    async with console.socket() as a, console.socket() as b, console.socket() as c:
        for connection in (a, b, c):
            await tell(connection, console.watch())
            await said(connection)
        assert console.stats.console_sockets == SOCKETS_MAX
        async with console.socket() as one_more:
            assert await closed(one_more) == module.NO_ROOM
        assert console.stats.console_limits == {"console_sockets_max": 1}
    await wait_until(lambda: console.stats.console_sockets == 0)
    async with console.socket() as connection:
        await tell(connection, console.watch())
        await said(connection)


async def test_a_message_that_is_too_large_closes(console: Console):
    async with console.socket() as connection:
        await connection.send("x" * (module.MESSAGE_BYTES_MAX + 1))
        code, _ = await closed(connection)
        assert code == 1009
    await wait_until(lambda: console.stats.console_limits == {"message_bytes": 1})


async def test_a_flood_of_messages_closes(console: Console):
    async with console.socket() as connection:
        await tell(connection, console.watch())
        for _ in range(module.MESSAGES_AT_ONCE + 1):
            await tell(connection, {"type": "look"})
        assert await closed(connection) == module.FLOOD
    assert console.stats.console_limits == {"messages": 1}


async def test_a_socket_ends_with_its_session(console: Console, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(console.endpoint, "check_s", 0.02)
    async with console.socket() as connection:
        await tell(connection, console.watch())
        await said(connection)
        console.clock.ms += round(SESSION_S * 1000)
        assert await closed(connection) == module.SESSION_OVER
    with pytest.raises(InvalidStatus):
        async with console.socket():
            pass


async def test_a_socket_ends_when_the_key_of_its_session_is_revoked(
    console: Console, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(console.endpoint, "check_s", 0.02)
    async with console.socket() as connection:
        await tell(connection, console.watch())
        await said(connection)
        keys = await console.api.services.api_keys.all()
        [admin] = [key.id for key in keys if key.name == "admin"]
        assert await console.api.services.api_keys.revoke(admin)
        assert await closed(connection) == module.SESSION_OVER
    async with console.socket() as connection:
        await tell(connection, console.watch())
        assert await closed(connection) == module.SESSION_OVER


async def test_while_the_store_is_away_a_page_is_asked_to_come_again(
    console: Console, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def away(*_: object) -> None:
        raise StoreUnavailable("as the test wants it")

    monkeypatch.setattr(console.api.services.api_keys, "find_by", away)
    async with console.socket() as connection:
        await tell(connection, console.watch())
        assert await closed(connection) == module.AWAY
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_socket_ends_when_its_browser_signs_out(console: Console):
    async with console.socket() as connection, console.served.client() as browser:
        await tell(connection, console.watch())
        await said(connection)
        form, headers = {"csrf": console.csrf}, {"Cookie": console.cookie}
        await browser.post("/logout", data=form, headers=headers)
        assert await closed(connection) == module.SESSION_OVER


async def test_a_page_that_reads_nothing_is_cut_off(console: Console):
    """By its connection, like any client of the api: the socket ends, and so does its poller."""
    async with console.socket() as connection:
        await tell(connection, console.watch())
        await said(connection)
        connection.transport.pause_reading()
        big = "x" * 200_000
        [(topic, _)] = console.endpoint.topics._running.values()
        [watcher] = topic.watchers
        watcher._pending.extend([big] * 200)
        watcher._news.set()
        await wait_until(lambda: console.stats.console_sockets == 0)
        assert console.served.connections.stalled == 1


@asynccontextmanager
async def upgraded(console: Console) -> AsyncIterator[Raw]:
    """A socket on which any bytes may be written."""
    request = (
        f"GET {module.PATH} HTTP/1.1\r\nhost: 127.0.0.1:{console.served.port}\r\n"
        f"origin: {console.served.base}\r\ncookie: {console.cookie}\r\n"
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with console.served.raw(request.encode()) as raw:
        assert (await raw.answer())[0] == 101
        yield raw


def frame(head: int, payload: bytes, *, masked: bool = True) -> bytes:
    """A frame of up to 125 bytes, under a mask of zeros."""
    length = len(payload) | (0x80 if masked else 0)
    return bytes([head, length]) + (bytes(4) if masked else b"") + payload


@pytest.mark.parametrize(
    "wrong",
    [
        *(b"\xff" * 64, bytes(64), b"GET / HTTP/1.1\r\n\r\n"),
        frame(0x81, b"{}", masked=False),
        frame(0x81, b"\xff\xfe"),
        frame(0x80, b"goes on"),
        frame(0x83, b"reserved"),
        frame(0xF1, b"reserved bits"),
        frame(0x01, b"begins") + frame(0x81, b"begins again"),
        frame(0x09, b"a ping in parts"),
        frame(0x88, b"\x03"),
        frame(0x88, (999).to_bytes(2, "big")),
        b"\x81\xff" + (1 << 40).to_bytes(8, "big") + bytes(4),
    ],
)
async def test_what_breaks_the_protocol_ends_the_socket(
    console: Console, caplog: pytest.LogCaptureFixture, wrong: bytes
):
    async with upgraded(console) as raw:
        raw.writer.write(wrong)
        async with asyncio.timeout(5):
            await raw.reader.read()
        await wait_until(lambda: console.served.connections.open == 0)
    await wait_until(lambda: console.stats.console_sockets == 0)
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


async def test_pings_whose_answers_nobody_reads_are_not_answered_without_end(console: Console):
    async with upgraded(console) as raw:
        watch = json.dumps(console.watch()).encode()
        raw.writer.write(b"\x81\xfe" + len(watch).to_bytes(2, "big") + bytes(4) + watch)
        raw.reader._transport.pause_reading()
        pings, sent = frame(0x89, b"x" * 125) * 500, 0
        with suppress(OSError):
            async with asyncio.timeout(5):
                while console.served.connections.open:
                    raw.writer.write(pings)
                    sent += len(pings)
                    await raw.writer.drain()
    assert console.served.connections.stalled == 1
    assert sent < 50_000_000


async def test_a_socket_is_counted_as_a_connection_until_it_ends(console: Console):
    open_before = console.served.connections.open
    async with console.socket() as connection:
        await tell(connection, console.watch())
        await said(connection)
        assert console.served.connections.open == open_before + 1
    await wait_until(lambda: console.served.connections.open == open_before)


async def test_no_other_path_becomes_a_socket(console: Console):
    for path in ("/", "/v1/stats", "/console/socket/", "/console/socket%20"):
        request = (
            f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            f"cookie: {console.cookie}\r\nsec-websocket-version: 13\r\n"
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        async with console.served.raw(request.encode()) as raw:
            status = (await raw.answer())[0]
            # Answered as any request: one that was handed over would be refused with 403.
            assert status == 200 if path == "/" else status != 101


@pytest.mark.parametrize(
    ("line", "more"),
    [
        ("GET", "x-a: " + "b" * 9_000),
        ("GET", "content-length: 1000000"),
        ("GET", "transfer-encoding: chunked"),
        ("POST", "x: y"),
        ("POST", "content-length: 5"),
        ("CONNECT", "x: y"),
        ("GET", "sec-websocket-version: 7"),
        ("GET", "x: \xe4"),
    ],
)
async def test_what_is_no_proper_handshake_is_refused_and_ends(
    console: Console, caplog: pytest.LogCaptureFixture, line: str, more: str
):
    request = (
        f"{line} {module.PATH} HTTP/1.1\r\nhost: 127.0.0.1:{console.served.port}\r\n"
        f"origin: http://evil.example\r\n{more}\r\n"
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with console.served.raw(request.encode("latin-1")) as raw:
        assert 400 <= (await raw.answer())[0] < 500
    await wait_until(lambda: console.served.connections.open == 0)
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


async def test_a_second_request_becomes_a_socket_only_when_the_first_is_answered(
    console: Console,
):
    head = console.served.head("GET /healthz").decode()
    upgrade = (
        f"GET {module.PATH} HTTP/1.1\r\nhost: 127.0.0.1:{console.served.port}\r\n"
        f"origin: {console.served.base}\r\ncookie: {console.cookie}\r\n"
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with console.served.raw((head + upgrade).encode()) as raw:
        assert (await raw.answer())[0] == 200
        assert (await raw.answer())[0] == 404
    async with console.served.raw(head.encode()) as raw:
        assert (await raw.answer())[0] == 200
        raw.writer.write(upgrade.encode())
        assert (await raw.answer())[0] == 101
    await wait_until(lambda: console.served.connections.open == 0)
