"""What all pages have in common: their templates, their headers, and how an error looks."""

from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.api.answers import Answer, Header
from app.api.problems import NOT_FOUND, Problem, problem_of
from app.api.stats import CLIENT_GONE, Stats

HTML: Final = b"text/html; charset=utf-8"
_TYPES: Final = {
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}


def policy(*origins: str) -> Header:
    """What a page may load; `origins` are those it may open sockets to besides our own."""
    rules = (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        " ".join(("connect-src 'self'", *origins)),
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
    return (b"content-security-policy", "; ".join(rules).encode("ascii"))


_POLICY: Final = policy()
# Beside those that every answer has: nobody frames a page, and no page tells where one came from.
_HEADERS: Final[tuple[Header, ...]] = (
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)

Handler = Callable[[Request], Awaitable[Answer]]


class Frame:
    """Makes pages out of the templates, and serves what pages load."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
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
            try:
                answer = await handler(request)
            except ClientDisconnect:
                self._stats.by_status[CLIENT_GONE] += 1
                return Response(status_code=400)  # nobody is left to read it
            except Exception as error:
                problem = problem_of(error)
                self._stats.refusals.note(problem.kind, problem.detail)
                answer = self._told(problem)
            self._stats.by_status[answer.status] += 1
            response = Response(answer.body, answer.status)
            head = answer.head()
            own = () if any(name == _POLICY[0] for name, _ in head) else (_POLICY,)
            response.raw_headers = [*head, *_HEADERS, *own]
            return response

        return endpoint

    async def part(self, request: Request) -> Answer:
        """A script, a style or an image. They are the same for everybody, signed in or not."""
        name = request.path_params["name"]
        part = self._parts.get(name)
        if part is None:
            raise Problem(NOT_FOUND, "There is nothing at this path.")
        return Answer(200, part, _TYPES[name.rpartition(".")[2]])

    def shown(
        self, template: str, status: int = 200, more: Sequence[Header] = (), **values: str | None
    ) -> Answer:
        text = self._templates.get_template(template).render(**values)
        return Answer(status, text.encode(), HTML, tuple(more))

    def _told(self, problem: Problem) -> Answer:
        kind, more = problem.kind, problem.answer().headers
        return self.shown(
            "problem.html", kind.status, more, title=kind.title, detail=problem.detail
        )
