"""The console's pages: which there are, and what stands at which path.

The pages are clients of the API: what they show they ask it for, with the session's cookie in
place of a key and the page's token against forged requests beside it, or hear it over the
console's socket. Nothing comes from another host, and no script or style stands inside a page.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.routing import BaseRoute, Route, WebSocketRoute

from app.api.answers import Answer
from app.api.auth import Doorkeeper
from app.api.problems import not_found
from app.api.services import Services
from app.console.frame import Frame, Handler
from app.console.moments import moments_page
from app.console.signing_in import SigningIn
from app.console.socket import PATH, ConsoleSocket
from app.console.topics import Topics
from app.console.watched_post import PostSource
from app.console.watched_stats import StatsSource
from app.domain.ids import is_endpoint_id, is_post_id


def pages(services: Services, doorkeeper: Doorkeeper) -> Sequence[BaseRoute]:
    """The routes of the console. `services` has its sessions."""
    assert services.sessions is not None
    frame = Frame(services.stats)
    topics = Topics(
        {
            "stats": lambda _: StatsSource(services),
            "post": lambda post_id: PostSource(services, post_id),
        },
        services.stats,
    )
    socket = ConsoleSocket(services, services.sessions, doorkeeper, topics)
    signing_in = SigningIn(services, services.sessions, doorkeeper, frame, signed_out=socket.end)
    console = Console(frame, signing_in)
    moments = moments_page(services, frame, signing_in)
    shown = [Route(page.path, frame.page(console.show(page)), methods=["GET"]) for page in PAGES]
    return [
        *shown,
        Route("/moments", frame.page(moments), methods=["GET"]),
        Route("/login", frame.page(signing_in.form), methods=["GET"]),
        Route("/login", frame.page(signing_in.sign_in), methods=["POST"]),
        Route("/logout", frame.page(signing_in.sign_out), methods=["POST"]),
        WebSocketRoute(PATH, socket.endpoint),
        Route("/console/{name}", frame.page(frame.part), methods=["GET"]),
    ]


@dataclass(frozen=True, slots=True)
class Page:
    """A page for whoever is signed in. `area` is the entry of the navigation that it belongs to."""

    path: str
    template: str
    area: str


PAGES = (
    Page("/", "live.html", "live"),
    Page("/posts", "posts.html", "posts"),
    Page("/posts/{post}", "post.html", "posts"),
    Page("/endpoints", "endpoints.html", "endpoints"),
    Page("/endpoints/{endpoint}", "endpoint.html", "endpoints"),
    Page("/dead-letters", "dead_letters.html", "dead-letters"),
)
_IS_OURS = {"post": is_post_id, "endpoint": is_endpoint_id}


class Console:
    def __init__(self, frame: Frame, signing_in: SigningIn) -> None:
        self._frame = frame
        self._signing_in = signing_in

    def show(self, page: Page) -> Handler:
        """What answers with a page: an empty one, which its scripts fill."""

        async def handler(request: Request) -> Answer:
            session = await self._signing_in.session_of(request)
            if session is None:
                return self._signing_in.asked(request)
            id_ = ""
            for name, value in request.path_params.items():
                if not _IS_OURS[name](value):
                    raise not_found(name)
                id_ = value
            return self._frame.shown(page.template, csrf=session.csrf, area=page.area, id=id_)

        return handler
