"""Webhooks in Django."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, Protocol, cast

from django.http import HttpRequest, HttpResponse
from django.views.decorators import csrf

from moments_client.errors import InvalidWebhook
from moments_client.webhooks.receiver import Challenge, Receiver, WebhookEvent
from moments_client.webhooks.reply import DONE, Reply, echo, refusal

Handler = Callable[[WebhookEvent], Awaitable[None]] | Callable[[WebhookEvent], None]
View = Callable[[HttpRequest], HttpResponse] | Callable[[HttpRequest], Awaitable[HttpResponse]]

# Django says nothing of types: what of it is used here is said here.
_exempt: Callable[[Any], Any] = cast(Any, csrf).csrf_exempt


class _Request(Protocol):
    @property
    def body(self) -> bytes: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def META(self) -> Mapping[str, Any]: ...


def webhook(*secrets: str) -> Callable[[Handler], View]:
    """Makes a view of a function that takes events; an async view of an async one.

    A request that is not signed with one of `secrets` is answered with 4xx and the reason, a
    challenge is echoed, a ping accepted; an event is accepted with 204 when the function returns.
    When it raises, the answer is Django's 500, and the event is sent again. The view is exempt from
    CSRF tokens: the signature says who sends. `DATA_UPLOAD_MAX_MEMORY_SIZE` bounds the body.
    """
    receiver = Receiver(*secrets)

    def read(request: HttpRequest) -> WebhookEvent | Reply:
        """The event, or what to answer without one."""
        asked = cast(_Request, request)
        try:
            received = receiver.receive(
                asked.body, asked.headers, asked.META.get("QUERY_STRING", "")
            )
        except InvalidWebhook as error:
            return refusal(error)
        if isinstance(received, Challenge):
            return echo(received)
        return received if isinstance(received, WebhookEvent) else DONE

    def decorate(handler: Handler) -> View:
        if inspect.iscoroutinefunction(handler):

            @wraps(handler)
            async def async_view(request: HttpRequest) -> HttpResponse:
                found = read(request)
                if isinstance(found, WebhookEvent):
                    await handler(found)
                    found = DONE
                return _response(found)

            return _exempt(async_view)

        @wraps(handler)
        def view(request: HttpRequest) -> HttpResponse:
            found = read(request)
            if isinstance(found, WebhookEvent):
                handler(found)
                found = DONE
            return _response(found)

        return _exempt(view)

    return decorate


def _response(reply: Reply) -> HttpResponse:
    return HttpResponse(reply.body, status=reply.status, content_type=reply.media_type)
