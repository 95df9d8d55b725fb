"""Receives webhooks with FastAPI.

MOMENTS_SECRET=whsec_… uvicorn receiver_fastapi:app --port 9000
"""

import os

from fastapi import FastAPI

from moments_client.webhooks import WebhookEvent
from moments_client.webhooks.fastapi import webhook

app = FastAPI()
seen: set[str] = set()  # in your application: a table with a unique column, written with the rest


@app.post("/moments")
@webhook(os.environ["MOMENTS_SECRET"])
async def moments(event: WebhookEvent) -> None:
    if event.id in seen:  # sent again, since an answer of ours got lost
        return
    print(event.recipient, event.type, event.post, flush=True)
    seen.add(event.id)
