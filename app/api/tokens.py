"""User tokens: made here for the users of whoever has an admin key."""

from app.api.answers import Answer, model_answer
from app.api.call import Ask
from app.api.problems import NO_TOKEN_SECRET, Problem, invalid
from app.api.schemas.access import NewToken, Token
from app.api.schemas.fields import Nothing
from app.clock import now_ms
from app.tokens import make_token
from app.wire import rfc3339


async def create(ask: Ask[Nothing, NewToken]) -> Answer:
    """Makes a token that opens one user's feed and sockets."""
    services, ttl_s = ask.services, ask.body.ttl_s
    if services.token_secret is None:
        detail = "MOMENTS_TOKEN_SECRET is not set here: make tokens where the private key is."
        raise Problem(NO_TOKEN_SECRET, detail)
    if ttl_s > services.limits.token_ttl_max_s:
        raise invalid("ttl_s", f"must be at most {services.limits.token_ttl_max_s}")
    now_s = now_ms() // 1000
    token = make_token(services.token_secret, ask.path["user"], ttl_s=ttl_s, now_s=now_s)
    return model_answer(201, Token(token=token, expires_at=rfc3339((now_s + ttl_s) * 1000)))
