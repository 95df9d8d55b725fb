"""Receives webhooks with Starlette.

    MOMENTS_SECRET=whsec_… uvicorn receiver_starlette:app --port 9000

The secret is the one that the endpoint was made with; a `whpk_…` public key will do, too.
"""

import os

from starlette.applications import Starlette
from starlette.routing import Route

from moments_client.webhooks import WebhookEvent
from moments_client.webhooks.starlette import webhook

seen: set[str] = set()  # in your application: a table with a unique column, written with the rest


@webhook(os.environ["MOMENTS_SECRET"])
async def moments(event: WebhookEvent) -> None:
    if event.id in seen:  # sent again, since an answer of ours got lost
        return
    print(event.recipient, event.type, event.post, flush=True)
    seen.add(event.id)


app = Starlette(routes=[Route("/moments", moments, methods=["POST"])])
