"""Receives webhooks with Flask.

MOMENTS_SECRET=whsec_… flask --app receiver_flask run --port 9000
"""

import os

from flask import Flask

from moments_client.webhooks import WebhookEvent
from moments_client.webhooks.flask import webhook

app = Flask(__name__)
seen: set[str] = set()  # in your application: a table with a unique column, written with the rest


@app.post("/moments")
@webhook(os.environ["MOMENTS_SECRET"])
def moments(event: WebhookEvent) -> None:
    if event.id in seen:  # sent again, since an answer of ours got lost
        return
    print(event.recipient, event.type, event.post, flush=True)
    seen.add(event.id)
