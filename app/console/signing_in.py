"""Signing in with an admin key, and out: the form, the cookie, and whose form is taken."""

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl, quote

from starlette.requests import Request

from app.api.answers import Answer, Header
from app.api.auth import Access, Doorkeeper
from app.api.body import read
from app.api.problems import Problem
from app.api.services import Services
from app.api.sessions import COOKIE, SECURE_COOKIE, Session, Sessions
from app.console.frame import Frame
from app.domain.client import is_trusted
from app.domain.credential import is_api_key
from app.domain.origin import is_of_host
from app.store.apikeys import digest_of

FORM_BYTES_MAX: Final = 8 * 1024
FORM_FIELDS_MAX: Final = 8
# Where one may have wanted to go before signing in: to a page of ours, and nowhere else.
_OUR_PAGE: Final = re.compile(r"/[a-z0-9-]{1,32}(/[A-Za-z0-9_.:@-]{1,64})?")


class SigningIn:
    def __init__(
        self,
        services: Services,
        sessions: Sessions,
        doorkeeper: Doorkeeper,
        frame: Frame,
        *,
        signed_out: Callable[[Session], None],
    ) -> None:
        """`signed_out` ends what else a session has open."""
        self._services = services
        self._sessions = sessions
        self._doorkeeper = doorkeeper
        self._frame = frame
        self._signed_out = signed_out

    async def session_of(self, request: Request) -> Session | None:
        """The session of whoever asks for a page, if there is one whose key still is."""
        session = self._session(request)
        if session is None or await self._doorkeeper.caller_of(session) is None:
            return None
        return session

    def asked(self, request: Request) -> Answer:
        """To the form, and from there to the page that was asked for."""
        path = request.url.path
        return see("/login" if path == "/" else f"/login?next={quote(path)}")

    async def form(self, request: Request) -> Answer:
        return self._shown(200, None, request.query_params.get("next", ""))

    async def sign_in(self, request: Request) -> Answer:
        """Opens a session for an admin key, and shows why not for anything else."""
        if not _is_of_our_own(request):
            return self._shown(403, "Sign in from this page.")
        fields = await self._fields(request)
        key, next_ = fields.get("key", "").strip(), fields.get("next", "")
        if not is_api_key(key):
            return self._shown(422, "An API key begins with mk_.", next_)
        try:
            caller = await self._doorkeeper.find_key(key, request.scope)
            self._doorkeeper.check(Access.ADMIN, caller, {})
        except Problem as problem:
            self._services.stats.refusals.note(problem.kind, problem.detail)
            more = problem.answer().headers
            return self._shown(problem.kind.status, problem.detail, next_, more)
        page = next_ if _OUR_PAGE.fullmatch(next_) else "/"
        return see(page, self._cookie(request, self._sessions.begin(digest_of(key))))

    async def sign_out(self, request: Request) -> Answer:
        """Takes the cookie back. Without the page's token nothing happens: another site's form
        comes without the cookie, and must not have it taken back either."""
        session = self._session(request)
        said = (await self._fields(request)).get("csrf", "")
        if session is None:
            return see("/login")
        if not session.is_from_our_page(said.encode()):
            return self._shown(403, "Sign out from the console itself.")
        self._signed_out(session)
        return see("/login", self._cookie(request, "", max_age_s=0))

    def _shown(
        self,
        status: int,
        complaint: str | None,
        next_: str = "",
        more: tuple[Header, ...] = (),
    ) -> Answer:
        """The form. What was typed into it comes back nowhere, but for a path of ours."""
        kept = next_ if _OUR_PAGE.fullmatch(next_) else ""
        return self._frame.shown("login.html", status, more, complaint=complaint, next=kept)

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
        is_secure = self.is_secure(request)
        life_s = round(self._sessions.session_s) if max_age_s is None else max_age_s
        said = f"{SECURE_COOKIE if is_secure else COOKIE}={value}; Path=/; Max-Age={life_s}"
        said += "; HttpOnly; SameSite=Strict" + ("; Secure" if is_secure else "")
        return (b"set-cookie", said.encode("ascii"))

    def is_secure(self, request: Request) -> bool:
        """Whether the browser speaks TLS: to us, or to a proxy of ours that says so."""
        if request.url.scheme == "https":
            return True
        peer = None if request.client is None else request.client.host
        forwarded = request.headers.get("x-forwarded-proto", "")
        return forwarded == "https" and is_trusted(peer, self._services.limits.trusted_proxies)


def see(path: str, *headers: Header) -> Answer:
    """303: to be fetched with GET, whatever this was."""
    return Answer(303, headers=((b"location", path.encode()), *headers))


def _is_of_our_own(request: Request) -> bool:
    """Whether a form was sent from a page of ours, as far as the browser tells: another site could
    sign its visitors in to a session of its own choice."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or is_of_host(origin, request.headers.get("host"))
