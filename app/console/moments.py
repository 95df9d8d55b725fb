"""The Moments page: an example of an application, which also speaks to the gateways."""

from starlette.requests import Request

from app.api.answers import Answer
from app.api.services import Services
from app.console.frame import Frame, Handler, policy
from app.console.signing_in import SigningIn
from app.domain.socket_url import origin_of


def moments_page(services: Services, frame: Frame, signing_in: SigningIn) -> Handler:
    """What answers with the page, whose policy names the gateways' origin, if that is known."""

    async def handler(request: Request) -> Answer:
        session = await signing_in.session_of(request)
        if session is None:
            return signing_in.asked(request)
        host, is_secure = request.headers.get("host", ""), signing_in.is_secure(request)
        url = services.sockets.seen_from(host, is_secure=is_secure)
        own = policy() if url is None else policy(origin_of(url))
        return frame.shown("moments.html", more=[own], csrf=session.csrf, socket=url)

    return handler
