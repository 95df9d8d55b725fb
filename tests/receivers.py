"""The package's receiver as tests use it: it keeps every request, and answers 200 unless told.

    async with Receiver(status(503, retry_after="2"), reset_after_request()) as receiver:
        ...                          # send something to receiver.url
        receiver.requests[0].json()

Each request meets the next behaviour; when there are no more, `default` (200).
"""

import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence

from app.receiver import Behaviour, Received
from app.receiver import Receiver as PlainReceiver
from app.receiver.answer import response as response
from app.receiver.behaviour import answer_and_close as answer_and_close
from app.receiver.behaviour import chunked as chunked
from app.receiver.behaviour import gated as gated
from app.receiver.behaviour import raw as raw
from app.receiver.behaviour import redirect as redirect
from app.receiver.behaviour import status as status
from app.receiver.behaviour import then as then
from app.receiver.behaviour import until_close as until_close
from app.receiver.misbehaviour import banner as banner
from app.receiver.misbehaviour import big_body as big_body
from app.receiver.misbehaviour import chunked_garbage as chunked_garbage
from app.receiver.misbehaviour import close_after_request as close_after_request
from app.receiver.misbehaviour import close_idle as close_idle
from app.receiver.misbehaviour import drip as drip
from app.receiver.misbehaviour import endless_body as endless_body
from app.receiver.misbehaviour import endless_head as endless_head
from app.receiver.misbehaviour import hang as hang
from app.receiver.misbehaviour import headers_then_stop as headers_then_stop
from app.receiver.misbehaviour import interim as interim
from app.receiver.misbehaviour import long_body as long_body
from app.receiver.misbehaviour import reset_after_request as reset_after_request
from app.receiver.misbehaviour import reset_before_request as reset_before_request
from app.receiver.misbehaviour import reset_in_body as reset_in_body
from app.receiver.misbehaviour import short_body as short_body
from app.receiver.misbehaviour import silence as silence
from app.receiver.misbehaviour import two_responses as two_responses


class Receiver(PlainReceiver):
    def __init__(
        self,
        *script: Behaviour,
        default: Behaviour | None = None,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        secrets: Sequence[str] = (),
        echoes: bool = False,
    ) -> None:
        self.requests: list[Received] = []
        super().__init__(
            secrets,
            on_request=self.requests.append,
            script=script,
            default=default or status(),
            tls=tls,
            echoes=echoes,
        )
        self._host = host

    async def __aenter__(self) -> "Receiver":
        await super().__aenter__()
        return self


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """A port of loopback on which nobody listens, and nobody else can meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
