"""Receiving webhooks: their signatures checked, what they say typed, challenges echoed.

For Starlette, FastAPI, Django and Flask there is a decorator each, in the module of that name:

    from moments_client.webhooks.starlette import webhook

    @webhook("whsec_…")
    async def moments(event: WebhookEvent) -> None:
        print(event.recipient, event.type, event.post)

For anything else there is `Receiver(secret).receive(body, headers)`.
"""

from moments_client.errors import InvalidWebhook
from moments_client.webhooks.receiver import Challenge, Ping, Receiver, Webhook, WebhookEvent

__all__ = ["Challenge", "InvalidWebhook", "Ping", "Receiver", "Webhook", "WebhookEvent"]
