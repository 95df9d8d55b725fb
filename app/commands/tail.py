"""`moments tail`: a user's socket, shown frame by frame; it comes back where it was cut."""

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

from rich.highlighter import JSONHighlighter
from rich.text import Text
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from app.commands.api_client import ApiClient
from app.commands.environment import read_settings
from app.commands.probe import authority, reachable
from app.commands.resume import FINAL_CODES, LONGEST_S, Place, reconnect_delay_s
from app.commands.signals import stop_on_signals
from app.commands.terminal import console, note
from app.errors import CommandFailed, DecodeError, UsageMistake
from app.wire import decode_frame, encode_json, encode_msgpack

PATH = "/v1/socket"

_TOKEN_EXPIRED = 4002
_TOKEN_TTL_S = 86_400
_OPEN_TIMEOUT_S = 10.0
_FRAME_BYTES_MAX = 16 * 1024 * 1024
_FINAL_STATUSES = frozenset({400, 403, 404, 426})


@dataclass(frozen=True, slots=True)
class Options:
    """What `moments tail` was asked for.

    `new_token` is called for a token, and again when one has expired; None: `token` is all there
    is. It blocks, and raises CommandFailed.
    """

    url: str
    token: str | None
    new_token: Callable[[], str] | None
    after: int | None
    ack: Literal["auto", "explicit"]
    msgpack: bool
    as_json: bool = False


def gateway_url() -> str:
    """Where the settings say that the gateway is."""
    settings = read_settings()
    return f"ws://{authority(reachable(settings.host), settings.gateway_port)}"


def new_tokens(api: ApiClient, user: str) -> Callable[[], str]:
    """What makes tokens of a user, each good for a day."""
    return lambda: api.make_token(user, _TOKEN_TTL_S)["token"]


def socket_url(text: str) -> str:
    """The URL of a socket, from one that may lack the path. Raises UsageMistake."""
    parts = urlsplit(text)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise UsageMistake(f"--url: {text!r} is no URL such as ws://127.0.0.1:8001")
    path = parts.path if parts.path.strip("/") else PATH
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


async def tail(options: Options) -> None:
    """Prints every frame as a line of JSON until a signal.

    Raises CommandFailed when the server refuses for good, UsageMistake for a wrong URL.
    """
    stop = stop_on_signals()
    follow = asyncio.create_task(_Tail(options).follow(), name="tail")
    asked = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({follow, asked}, return_when=asyncio.FIRST_COMPLETED)
        if follow.done():
            await follow
    finally:
        follow.cancel()
        asked.cancel()
        await asyncio.wait({follow, asked})


class _Tail:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._url = socket_url(options.url)
        self._token = options.token
        self._token_is_new = False
        self._place = Place(after=options.after)
        self._failures = 0
        self._asked_ms = 0
        self._out = console(sys.stdout)
        self._highlight = JSONHighlighter()

    async def follow(self) -> None:
        """Connects again and again. Raises CommandFailed when that is of no use."""
        await self._renew_token()
        while True:
            began = time.monotonic()
            await self._connect_once()
            # A connection that held is no failure, one that was cut at once is.
            held = time.monotonic() - began > LONGEST_S
            self._failures = 1 if held else self._failures + 1
            delay_s = reconnect_delay_s(self._failures, random.random(), self._asked_ms)
            self._asked_ms = 0
            note(Text(f"connecting again in {delay_s:.1f} s", "dim"))
            await asyncio.sleep(delay_s)

    async def _connect_once(self) -> None:
        """One connection, until it is lost. Raises CommandFailed when there is to be no other."""
        try:
            if self._token is None:
                await self._renew_token()
            socket = await self._open()
        except InvalidStatus as error:
            self._judge_status(error)
            return
        except (OSError, TimeoutError, InvalidHandshake) as error:
            note(f"cannot connect to {self._url} ({str(error) or type(error).__name__})")
            return
        except CommandFailed as error:
            note(str(error))  # the api may be away for the same reason as the gateway
            return
        try:
            async for message in socket:
                await self._take(socket, message)
        except ConnectionClosed:
            pass  # how it was closed stands in the socket
        finally:
            await socket.close()
        self._judge_close(socket.close_code, socket.close_reason or "")

    async def _renew_token(self) -> None:
        if self._token is None and self._options.new_token is not None:
            self._token = await asyncio.to_thread(self._options.new_token)
            self._token_is_new = True

    async def _open(self) -> ClientConnection:
        encoding = "msgpack" if self._options.msgpack else "json"
        query = {"ack": self._options.ack, **self._place.parameters()}
        return await connect(
            f"{self._url}?{urlencode(query)}",
            additional_headers={"Authorization": f"Bearer {self._token or ''}"},
            subprotocols=[Subprotocol(f"moments.v1.{encoding}")],
            open_timeout=_OPEN_TIMEOUT_S,
            max_size=_FRAME_BYTES_MAX,
            compression=None,
            proxy=None,
        )

    async def _take(self, socket: ClientConnection, message: str | bytes) -> None:
        try:
            frame = json.loads(message) if isinstance(message, str) else decode_frame(message)
        except (ValueError, DecodeError) as error:
            raise CommandFailed(f"{self._url} sent what is no frame of moments") from error
        self._token_is_new = False  # it was good for a connection
        self._show(frame)
        self._place = self._place.seen(frame)
        if frame.get("type") == "goodbye":
            self._asked_ms = int(frame.get("reconnect_ms", 0))
        if self._options.ack == "explicit" and "offset" in frame:
            ack = {"type": "ack", "offset": frame["offset"]}
            text = encode_json(ack).decode()
            await socket.send(encode_msgpack(ack) if self._options.msgpack else text)

    def _show(self, frame: dict[str, Any]) -> None:
        line = json.dumps(frame, ensure_ascii=False)
        plain = self._options.as_json or not self._out.is_terminal
        self._out.print(line if plain else self._highlight(line))

    def _judge_status(self, error: InvalidStatus) -> None:
        status = error.response.status_code
        said = f"the gateway answered {status} {error.response.reason_phrase}{_detail(error)}"
        if status == 401:
            self._drop_token(said)
        elif status in _FINAL_STATUSES:
            raise CommandFailed(said)
        note(said)

    def _judge_close(self, code: int | None, reason: str) -> None:
        said = f"closed with {code}" + (f": {reason}" if reason else "")
        if code in FINAL_CODES:
            raise CommandFailed(said)
        if code == _TOKEN_EXPIRED:
            self._drop_token(said)
        note(said)

    def _drop_token(self, said: str) -> None:
        """Makes room for a new token; one that was new, or is all there is, is not tried again."""
        if self._token_is_new or self._options.new_token is None:
            raise CommandFailed(f"{said}: give a valid --token, or a --key to make tokens with")
        self._token = None


def _detail(error: InvalidStatus) -> str:
    """What a problem answer says besides its status."""
    try:
        detail = json.loads(error.response.body or b"")["detail"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f" ({detail})"
