"""Webhooks in FastAPI: `app.post("/moments")(moments)`, below which `moments` is made by `webhook`.

FastAPI takes an endpoint of Starlette as it is: the request is given to it whole, and no model
comes between it and the raw body.
"""

from moments_client.webhooks.starlette import webhook

__all__ = ["webhook"]
