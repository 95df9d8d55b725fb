"""Signing in, the pages themselves, and what they are made of.

The pages are clients of the API: what they show they ask it for, with the session's cookie in
place of a key and the page's token against forged requests beside it. Nothing comes from another
host, and no script or style stands inside a page.
"""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.api.answers import Answer, Header
from app.api.auth import Access, Doorkeeper
from app.api.body import read
from app.api.problems import NOT_FOUND, Problem, problem_of
from app.api.services import Services
from app.api.sessions import COOKIE, SECURE_COOKIE, Session, Sessions
from app.api.stats import CLIENT_GONE
from app.console import reference
from app.domain.client import is_trusted
from app.domain.credential import is_api_key
from app.store.apikeys import digest_of

FORM_BYTES_MAX: Final = 8 * 1024
FORM_FIELDS_MAX: Final = 8

_HTML: Final = b"text/html; charset=utf-8"
_TYPES: Final = {
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}
_CSP: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
# Beside those that every answer has: nobody frames a page, and no page tells where one came from.
_HEADERS: Final[tuple[Header, ...]] = (
    (b"content-security-policy", _CSP.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)

Handler = Callable[[Request], Awaitable[Answer]]


def pages(services: Services, doorkeeper: Doorkeeper) -> Sequence[BaseRoute]:
    """The routes of the console. `services` has its sessions."""
    assert services.sessions is not None
    reference.page()  # made before the first request, which would have to wait for it
    console = Console(services, services.sessions, doorkeeper)
    return [
        Route("/", console.page(console.overview), methods=["GET"]),
        Route("/login", console.page(console.form), methods=["GET"]),
        Route("/login", console.page(console.sign_in), methods=["POST"]),
        Route("/logout", console.page(console.sign_out), methods=["POST"]),
        Route("/docs", console.page(console.reference), methods=["GET"]),
        Route("/console/{name}", console.page(console.part), methods=["GET"]),
    ]


class Console:
    def __init__(self, services: Services, sessions: Sessions, doorkeeper: Doorkeeper) -> None:
        self._services = services
        self._sessions = sessions
        self._doorkeeper = doorkeeper
        self._templates = Environment(
            loader=PackageLoader("app.console"), autoescape=True, undefined=StrictUndefined
        )
        self._parts = {
            part.name: part.read_bytes()
            for part in files("app.console").joinpath("static").iterdir()
        }

    def page(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """A page's answer as the framework wants it, with the headers that all of them have."""

        async def endpoint(request: Request) -> Response:
            stats = self._services.stats
            try:
                answer = await handler(request)
            except ClientDisconnect:
                stats.by_status[CLIENT_GONE] += 1
                return Response(status_code=400)  # nobody is left to read it
            except Exception as error:
                problem = problem_of(error)
                stats.refusals.note(problem.kind, problem.detail)
                answer = self._told(problem)
            stats.by_status[answer.status] += 1
            response = Response(answer.body, answer.status)
            response.raw_headers = [*answer.head(), *_HEADERS]
            return response

        return endpoint

    # What is shown.

    async def overview(self, request: Request) -> Answer:
        session = self._session(request)
        if session is None or await self._doorkeeper.caller_of(session) is None:
            return _see("/login")
        return self._shown("overview.html", csrf=session.csrf)

    async def form(self, _: Request) -> Answer:
        return self._shown("login.html", complaint=None)

    async def reference(self, _: Request) -> Answer:
        """For whoever calls the service: it needs no session, as nothing in it is secret."""
        return Answer(200, reference.page(), _HTML)

    async def part(self, request: Request) -> Answer:
        """A style sheet or a script."""
        name = request.path_params["name"]
        body = self._parts.get(name)
        if body is None:
            raise Problem(NOT_FOUND, "There is nothing at this path.")
        return Answer(200, body, _TYPES[name.rpartition(".")[2]])

    # Signing in and out.

    async def sign_in(self, request: Request) -> Answer:
        """Opens a session for an admin key, and shows why not for anything else."""
        if not _is_of_our_own(request):
            return self._shown("login.html", 403, complaint="Sign in from this page.")
        key = (await self._fields(request)).get("key", "").strip()
        if not is_api_key(key):
            return self._shown("login.html", 422, complaint="An API key begins with mk_.")
        try:
            caller = await self._doorkeeper.find_key(key, request.scope)
            self._doorkeeper.check(Access.ADMIN, caller, {})
        except Problem as problem:
            self._services.stats.refusals.note(problem.kind, problem.detail)
            more = problem.answer().headers
            return self._shown("login.html", problem.kind.status, more, complaint=problem.detail)
        return _see("/", self._cookie(request, self._sessions.begin(digest_of(key))))

    async def sign_out(self, request: Request) -> Answer:
        """Takes the cookie back. Without the page's token nothing happens."""
        session = self._session(request)
        said = (await self._fields(request)).get("csrf", "")
        if session is None or hmac.compare_digest(said.encode(), session.csrf.encode()):
            return _see("/login", self._cookie(request, "", max_age_s=0))
        return self._shown("login.html", 403, complaint="Sign out from the console itself.")

    async def _fields(self, request: Request) -> dict[str, str]:
        limits = self._services.limits
        headers = dict(request.scope["headers"])
        raw = await read(
            headers, request.receive, bytes_max=FORM_BYTES_MAX, timeout_s=limits.body_timeout_s
        )
        try:
            return dict(parse_qsl(raw.decode("latin-1"), max_num_fields=FORM_FIELDS_MAX))
        except ValueError:
            return {}

    def _session(self, request: Request) -> Session | None:
        return self._sessions.find(request.headers.get("cookie", "").encode("latin-1"))

    def _cookie(self, request: Request, value: str, max_age_s: int | None = None) -> Header:
        """Only for this host, out of reach of scripts, and never sent by another site's page."""
        is_secure = self._is_secure(request)
        life_s = round(self._sessions.session_s) if max_age_s is None else max_age_s
        said = f"{SECURE_COOKIE if is_secure else COOKIE}={value}; Path=/; Max-Age={life_s}"
        said += "; HttpOnly; SameSite=Strict" + ("; Secure" if is_secure else "")
        return (b"set-cookie", said.encode("ascii"))

    def _is_secure(self, request: Request) -> bool:
        """Whether the browser speaks TLS: to us, or to a proxy of ours that says so."""
        if request.url.scheme == "https":
            return True
        peer = None if request.client is None else request.client.host
        forwarded = request.headers.get("x-forwarded-proto", "")
        return forwarded == "https" and is_trusted(peer, self._services.limits.trusted_proxies)

    # How it is shown.

    def _shown(
        self, template: str, status: int = 200, more: Sequence[Header] = (), **values: str | None
    ) -> Answer:
        text = self._templates.get_template(template).render(**values)
        return Answer(status, text.encode(), _HTML, tuple(more))

    def _told(self, problem: Problem) -> Answer:
        kind, more = problem.kind, problem.answer().headers
        return self._shown(
            "problem.html", kind.status, more, title=kind.title, detail=problem.detail
        )


def _see(path: str, *headers: Header) -> Answer:
    """303: to be fetched with GET, whatever this was."""
    return Answer(303, headers=((b"location", path.encode()), *headers))


def _is_of_our_own(request: Request) -> bool:
    """Whether a form was sent from a page of ours, as far as the browser tells: another site could
    sign its visitors in to a session of its own choice."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")
