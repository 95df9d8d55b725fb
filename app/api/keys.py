"""API keys: making, listing and revoking them."""

from app.api.answers import Answer, model_answer
from app.api.call import Ask
from app.api.pages import in_order
from app.api.problems import not_found
from app.api.schemas.access import Key, Keys, MadeKey, NewKey, ScopeWord
from app.api.schemas.fields import Nothing, Page
from app.clock import now_ms
from app.store.apikeys import ApiKey, Scope
from app.wire import rfc3339


async def create(ask: Ask[Nothing, NewKey]) -> Answer:
    """Makes an API key. Its secret is shown this once."""
    body = ask.body
    scopes = frozenset(Scope(word) for word in body.scopes)
    key, secret = await ask.services.api_keys.create(
        body.name,
        scopes,
        now_ms(),
        rate_per_s=body.rate_per_s,
        verify_endpoints=body.verify_endpoints,
    )
    return model_answer(201, MadeKey(**dict(_show(key)), key=secret))


async def every(ask: Ask[Page, Nothing]) -> Answer:
    """All API keys, in the order of their making."""
    items, next_ = in_order(await ask.services.api_keys.all(), ask.query, _place)
    return model_answer(200, Keys(items=[_show(key) for key in items], next=next_))


async def revoke(ask: Ask[Nothing, Nothing]) -> Answer:
    """Revokes an API key."""
    if not await ask.services.api_keys.revoke(ask.path["key"]):
        raise not_found("key")
    return Answer(204)


def _place(key: ApiKey) -> str:
    return f"{key.created_at_ms:015}.{key.id}"


def _show(key: ApiKey) -> Key:
    scopes: list[ScopeWord] = sorted(scope.value for scope in key.scopes)
    return Key(
        id=key.id,
        hint=key.hint,
        name=key.name,
        scopes=scopes,
        verify_endpoints=key.verify_endpoints,
        created_at=rfc3339(key.created_at_ms),
        rate_per_s=key.rate_per_s,
    )
