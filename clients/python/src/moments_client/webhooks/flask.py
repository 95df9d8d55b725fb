"""Webhooks in Flask."""

from collections.abc import Callable
from functools import wraps

from flask import Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from moments_client.errors import InvalidWebhook
from moments_client.webhooks.receiver import Challenge, Receiver, WebhookEvent
from moments_client.webhooks.reply import BODY_BYTES_MAX, DONE, Reply, echo, refusal, too_large

Handler = Callable[[WebhookEvent], None]
View = Callable[[], Response]


def webhook(*secrets: str, body_bytes_max: int = BODY_BYTES_MAX) -> Callable[[Handler], View]:
    """Makes a view of a function that takes events.

    A request that is not signed with one of `secrets` is answered with 4xx and the reason, a
    challenge is echoed, a ping accepted; an event is accepted with 204 when the function returns.
    When it raises, the answer is Flask's 500, and the event is sent again.
    """
    receiver = Receiver(*secrets)

    def decorate(handler: Handler) -> View:
        @wraps(handler)
        def view() -> Response:
            request.max_content_length = body_bytes_max
            try:
                body, query = request.get_data(), request.query_string  # as it came
            except RequestEntityTooLarge:
                return _response(too_large(body_bytes_max))
            try:
                received = receiver.receive(body, list(request.headers.items()), query)
            except InvalidWebhook as error:
                return _response(refusal(error))
            if isinstance(received, Challenge):
                return _response(echo(received))
            if isinstance(received, WebhookEvent):
                handler(received)
            return _response(DONE)

        return view

    return decorate


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, content_type=reply.media_type)
