"""The four frameworks, each with an application that takes webhooks at `/moments`."""

import os
from collections.abc import Callable

import httpx
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.urls import clear_url_caches, path
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.routing import Route

from moments_client.webhooks import WebhookEvent
from moments_client.webhooks import django as for_django
from moments_client.webhooks import fastapi as for_fastapi
from moments_client.webhooks import flask as for_flask
from moments_client.webhooks import starlette as for_starlette

METHODS = ["POST", "PUT", "DELETE", "GET"]
Take = Callable[[WebhookEvent], None]

urlpatterns: list[object] = []  # of Django, which has one of everything in a process


async def ask_starlette(secret: str, take: Take, *request: object) -> httpx.Response:
    @for_starlette.webhook(secret)
    async def moments(event: WebhookEvent) -> None:
        take(event)

    return await _ask(Starlette(routes=[Route("/moments", moments, methods=METHODS)]), *request)


async def ask_fastapi(secret: str, take: Take, *request: object) -> httpx.Response:
    app = FastAPI()

    @app.api_route("/moments", methods=METHODS)
    @for_fastapi.webhook(secret)
    def moments(event: WebhookEvent) -> None:  # in a thread
        take(event)

    return await _ask(app, *request)


async def _ask(app: object, method: str, query: bytes, headers: object, body: bytes):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, verify=False) as http:
        url = httpx.URL("http://receiver/moments", query=query)
        return await http.request(method, url, headers=headers, content=body)  # type: ignore[arg-type]


async def ask_django(secret: str, take: Take, *request: object) -> httpx.Response:
    @for_django.webhook(secret)
    def moments(event: WebhookEvent) -> None:
        take(event)

    _django(moments)
    return _ask_wsgi(get_wsgi_application(), *request)


async def ask_async_django(secret: str, take: Take, *request: object) -> httpx.Response:
    @for_django.webhook(secret)
    async def moments(event: WebhookEvent) -> None:
        take(event)

    _django(moments)
    return await _ask(get_asgi_application(), *request)


def _django(view: object) -> None:
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=__name__,
            ALLOWED_HOSTS=["*"],
            SECRET_KEY=os.urandom(32).hex(),
            MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
            LOGGING_CONFIG=None,
        )
    urlpatterns[:] = [path("moments", view)]  # type: ignore[arg-type]
    clear_url_caches()


async def ask_flask(secret: str, take: Take, *request: object) -> httpx.Response:
    app = Flask("receiver")

    @app.route("/moments", methods=METHODS)
    @for_flask.webhook(secret)
    def moments(event: WebhookEvent) -> None:
        take(event)

    return _ask_wsgi(app, *request)


def _ask_wsgi(app: object, method: str, query: bytes, headers: object, body: bytes):
    transport = httpx.WSGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]
    with httpx.Client(transport=transport, verify=False) as http:
        url = httpx.URL("http://receiver/moments", query=query)
        return http.request(method, url, headers=headers, content=body)  # type: ignore[arg-type]


FRAMEWORKS = {
    "starlette": ask_starlette,
    "fastapi": ask_fastapi,
    "django": ask_django,
    "django, async": ask_async_django,
    "flask": ask_flask,
}
