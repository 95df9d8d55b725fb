"""The console's own socket: who may open it, and what it is told while it is open.

A browser sends its cookie with any socket to us, whoever's page opened it. So the page has to be
of our own host (`Origin`), and its first message has to have the token of the session:

    {"type": "watch", "topic": "stats" | "post:ID", "csrf": "…"}    once, within 5 s
    {"type": "look"}                                                look again soon

A socket ends with its session, at the latest `CHECK_S` after the session's key was revoked.
"""

import asyncio
import contextlib
import json
import logging
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, Final, NamedTuple, cast

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.api.auth import Doorkeeper
from app.api.services import Services
from app.api.sessions import Session, Sessions
from app.console.topics import Topic, Topics, Watcher
from app.domain.bucket import Bucket, Rate
from app.domain.ids import is_post_id
from app.domain.origin import is_of_host
from app.errors import MomentsError

log = logging.getLogger(__name__)

PATH: Final = "/console/socket"
HELLO_TIMEOUT_S: Final = 5.0
MESSAGE_BYTES_MAX: Final = 4_096
MESSAGES_AT_ONCE: Final = 20
MESSAGES_PER_S: Final = 2.0
CHECK_S: Final = 5.0  # between two looks whether the session still holds


class Ending(NamedTuple):
    """Why a socket is closed: the ranges of its code are those of the gateway's."""

    code: int
    reason: str


SESSION_OVER: Final = Ending(4501, "the session is over: sign in again")
NOT_OUR_PAGE: Final = Ending(4501, "the token is not that of this session: load the page anew")
LATE: Final = Ending(4005, "no message came in time")
NO_ROOM: Final = Ending(4006, "so many browsers watch already as may")
BAD_MESSAGE: Final = Ending(4500, "not a message of this protocol")
FLOOD: Final = Ending(4502, "too many messages")
FAILED: Final = Ending(4001, "what this watched has failed: come again")
AWAY: Final = Ending(4001, "the store does not answer: come again")
CLIENT_LEFT: Final = Ending(1000, "")


class ConsoleSocket:
    """The endpoint of `PATH`, for all sockets of a process."""

    def __init__(
        self,
        services: Services,
        sessions: Sessions,
        doorkeeper: Doorkeeper,
        topics: Topics,
        *,
        hello_timeout_s: float = HELLO_TIMEOUT_S,
        check_s: float = CHECK_S,
    ) -> None:
        self._stats = services.stats
        self._sockets_max = services.limits.console_sockets_max
        self._sessions = sessions
        self._doorkeeper = doorkeeper
        self.topics = topics
        self.hello_timeout_s = hello_timeout_s
        self.check_s = check_s
        self._open: defaultdict[str, set[asyncio.Event]] = defaultdict(set)  # by their session

    def end(self, session: Session) -> None:
        """Closes the sockets of a session: its browser has signed out."""
        for over in self._open.get(session.csrf, ()):
            over.set()

    async def endpoint(self, websocket: WebSocket) -> None:
        session = self._sessions.find(_header(websocket, "cookie"))
        if session is None or not _is_from_our_host(websocket):
            await websocket.send_denial_response(Response(status_code=403))
            return
        await websocket.accept()
        try:
            ending = await self._serve(websocket, session)
            if ending is not CLIENT_LEFT:
                await websocket.close(*ending)
        except WebSocketDisconnect:
            pass

    async def _serve(self, websocket: WebSocket, session: Session) -> Ending:
        stats = self._stats
        if stats.console_sockets >= self._sockets_max:
            return self._limited("console_sockets_max", NO_ROOM)
        stats.console_sockets += 1
        try:
            try:
                async with asyncio.timeout(self.hello_timeout_s):
                    raw = await _next(websocket)
            except TimeoutError:
                return self._limited("hello", LATE)
            except WebSocketDisconnect as left:
                return self._left(left)
            topic = self._topic_of(raw, session)
            if isinstance(topic, Ending):
                return topic
            try:
                caller = await self._doorkeeper.caller_of(session)
            except MomentsError:
                return AWAY
            if caller is None:
                return SESSION_OVER
            return await self._watch(websocket, session, topic)
        finally:
            stats.console_sockets -= 1

    def _topic_of(self, raw: str, session: Session) -> str | Ending:
        message = _parse(raw)
        if message is None or message.get("type") != "watch":
            return BAD_MESSAGE
        csrf, topic = message.get("csrf"), message.get("topic")
        if not isinstance(csrf, str) or not isinstance(topic, str):
            return BAD_MESSAGE
        if not session.is_from_our_page(csrf.encode("utf-8", "replace")):
            return NOT_OUR_PAGE
        word, _, rest = topic.partition(":")
        if not self.topics.knows(topic) or (word == "post") is not is_post_id(rest):
            return BAD_MESSAGE
        return topic

    async def _watch(self, websocket: WebSocket, session: Session, name: str) -> Ending:
        async with self.topics.watch(name) as (topic, watcher, telling):
            over = asyncio.Event()
            works: list[Coroutine[Any, Any, Ending]] = [
                self._hear(websocket, topic),
                _tell(websocket, watcher),
                self._check(session, over),
            ]
            tasks = [asyncio.create_task(work, name="console socket") for work in works]
            self._open[session.csrf].add(over)
            try:
                await asyncio.wait((*tasks, telling), return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._close(session, over)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            ended = [task for task in tasks if task.done() and not task.cancelled()]
            if telling.done() and not ended:
                log.error("a topic failed", exc_info=telling.exception(), extra={"topic": name})
                return FAILED
            return ended[0].result()

    async def _hear(self, websocket: WebSocket, topic: Topic) -> Ending:
        """What the page says, until it leaves or says something wrong."""
        bucket = Bucket(Rate.of(MESSAGES_PER_S, MESSAGES_AT_ONCE))
        loop = asyncio.get_running_loop()
        while True:
            try:
                message = _parse(await _next(websocket))
            except WebSocketDisconnect as left:
                return self._left(left)
            if bucket.ready_at_s > loop.time():
                return self._limited("messages", FLOOD)
            bucket.take(loop.time())
            if message is None or message.get("type") != "look":
                return BAD_MESSAGE
            topic.nudge()

    def _close(self, session: Session, over: asyncio.Event) -> None:
        sockets = self._open[session.csrf]
        sockets.discard(over)
        if not sockets:
            del self._open[session.csrf]

    async def _check(self, session: Session, over: asyncio.Event) -> Ending:
        """Returns when the session is over."""
        while True:
            left_s = self._sessions.left_s(session)
            if left_s <= 0:
                return SESSION_OVER
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, self.check_s)):
                    await over.wait()
                return SESSION_OVER
            try:
                if await self._doorkeeper.caller_of(session) is None:
                    return SESSION_OVER
            except MomentsError:
                continue  # the store does not answer: nobody can say

    def _limited(self, limit: str, ending: Ending) -> Ending:
        self._stats.console_limits[limit] += 1
        return ending

    def _left(self, left: WebSocketDisconnect) -> Ending:
        if left.code == 1009:
            self._stats.console_limits["message_bytes"] += 1
        return CLIENT_LEFT


async def _tell(websocket: WebSocket, watcher: Watcher) -> Ending:
    """Sends what there is to tell. A page that reads nothing is cut off by its connection."""
    while True:
        message = await watcher.next()
        try:
            await websocket.send_text(message)
        except WebSocketDisconnect:
            return CLIENT_LEFT


async def _next(websocket: WebSocket) -> str:
    """The next message, "" for a binary one. Raises WebSocketDisconnect."""
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message["code"])
    return message.get("text") or ""


def _parse(raw: str) -> dict[str, Any] | None:
    """A message of a page, None for anything else."""
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", message) if isinstance(message, dict) else None


def _header(websocket: WebSocket, name: str) -> bytes:
    return websocket.headers.get(name, "").encode("latin-1", "replace")


def _is_from_our_host(websocket: WebSocket) -> bool:
    """Whether the page that opens the socket came from where the socket goes to. Every browser
    says so, and nobody but a browser has a cookie to protect."""
    headers = websocket.headers
    return is_of_host(headers.get("origin", ""), headers.get("host"))
