"""Webhooks in Starlette, and in FastAPI, which takes the same functions."""

import inspect
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from moments_client.errors import InvalidWebhook
from moments_client.webhooks.receiver import Challenge, Receiver, WebhookEvent
from moments_client.webhooks.reply import BODY_BYTES_MAX, DONE, Reply, echo, refusal, too_large

Handler = Callable[[WebhookEvent], Awaitable[None]] | Callable[[WebhookEvent], None]
Endpoint = Callable[[Request], Awaitable[Response]]


def webhook(*secrets: str, body_bytes_max: int = BODY_BYTES_MAX) -> Callable[[Handler], Endpoint]:
    """Makes an endpoint of a function that takes events.

    A request that is not signed with one of `secrets` is answered with 4xx and the reason, a
    challenge is echoed, a ping accepted; an event is accepted with 204 when the function returns.
    When it raises, the answer is the framework's 500, and the event is sent again. A function that
    is not async runs in a thread.
    """
    receiver = Receiver(*secrets)

    def decorate(handler: Handler) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            body, query = await _read(request, body_bytes_max), request.scope["query_string"]
            if body is None:
                return _response(too_large(body_bytes_max))
            try:
                received = receiver.receive(body, request.headers, query)
            except InvalidWebhook as error:
                return _response(refusal(error))
            if isinstance(received, Challenge):
                return _response(echo(received))
            if isinstance(received, WebhookEvent):
                await _call(handler, received)
            return _response(DONE)

        endpoint.__name__, endpoint.__doc__ = handler.__name__, handler.__doc__
        return endpoint

    return decorate


async def _read(request: Request, bytes_max: int) -> bytes | None:
    """The raw body; None when it is longer than that."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > bytes_max:
            return None
    return bytes(body)


async def _call(handler: Handler, event: WebhookEvent) -> None:
    if inspect.iscoroutinefunction(handler):
        await handler(event)
    else:
        await run_in_threadpool(handler, event)


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, media_type=reply.media_type if reply.body else None)
