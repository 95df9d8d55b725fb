"""Receives webhooks with Django, all in one file.

    MOMENTS_SECRET=whsec_… python receiver_django.py runserver --noreload 9000

In a project of yours only the view and its line in `urlpatterns` are needed.
"""

import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.urls import path

from moments_client.webhooks import WebhookEvent
from moments_client.webhooks.django import webhook

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY=os.urandom(32).hex())
seen: set[str] = set()  # in your application: a table with a unique column, written with the rest


@webhook(os.environ["MOMENTS_SECRET"])
def moments(event: WebhookEvent) -> None:
    if event.id in seen:  # sent again, since an answer of ours got lost
        return
    print(event.recipient, event.type, event.post, flush=True)
    seen.add(event.id)


urlpatterns = [path("moments", moments)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
