"""Posts whose deliveries stand in every state, as workers would have left them."""

from app.clock import now_ms
from app.domain.attempt import Outcome
from app.domain.delivery import State
from app.domain.ids import shard_of_id
from app.domain.post import Event, EventKind
from app.store import keys
from app.wire import Record, encode_attempt, encode_record
from tests.api.conftest import Api, fan_out

DUE_MS = 4_102_444_800_000  # 2100-01-01
FAILED = {State.RETRYING, State.PARKED_RETRYING, State.DEAD}


async def make_endpoint(api: Api, user: str) -> str:
    answer = await api.admin.post(
        "/v1/endpoints", json={"user": user, "url": "https://public.example/hook"}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def post_to(api: Api, *users: str) -> str:
    """A post that has been fanned out to these users."""
    post = str((await api.publish())["id"])
    await fan_out(api.services.store, Event(post, 1, EventKind.CREATED), users)
    return post


async def settle(api: Api, post: str, endpoint: str, state: State) -> str:
    """Brings a post's delivery to an endpoint into a state; its id."""
    store, shard, delivery = api.services.store, shard_of_id(endpoint), f"{post}-1-0-{endpoint}"
    failed = state in FAILED
    at_ms = now_ms() - 1
    record = Record(
        state,
        attempts=1 if failed or state is State.DELIVERED else 0,
        status=500 if failed else 200 if state is State.DELIVERED else 0,
        updated_at_ms=at_ms,
        error="http_5xx" if failed else "",
        due_ms=DUE_MS if state in (State.RETRYING, State.PENDING) else 0,
    )
    key = keys.outcomes(shard, post, 1, 0)
    await store.execute("HSET", key, endpoint, encode_record(record))
    await store.execute("HINCRBY", keys.tally(shard, post), state.value.lower(), 1)
    places = {
        State.RETRYING: keys.retries(shard),
        State.PENDING: keys.retries(shard),
        State.DEAD: keys.dead(shard),
        State.PARKED_PENDING: keys.parked(shard, endpoint),
        State.PARKED_RETRYING: keys.parked(shard, endpoint),
    }
    if state in places:
        due_ms = DUE_MS if state in (State.RETRYING, State.PENDING) else at_ms
        await store.execute("ZADD", places[state], due_ms, delivery)
    return delivery


async def log_attempt(api: Api, delivery: str, attempt: int, *, failed: bool) -> None:
    """Puts an attempt into its endpoint's log."""
    endpoint = delivery.rpartition("-")[2]
    outcome = Outcome(500 if failed else 200, None, 4.0, excerpt=b"no" if failed else b"ok")
    entry = encode_attempt(delivery, attempt, 1_700_000_000_000 + attempt, outcome)
    key = keys.attempts(shard_of_id(endpoint), endpoint)
    await api.services.store.execute("LPUSH", key, entry)


async def places_of(api: Api, delivery: str) -> list[str]:
    """The names of the places where a delivery stands that is not final."""
    endpoint = delivery.rpartition("-")[2]
    store, shard = api.services.store, shard_of_id(endpoint)
    sets = {
        "retries": keys.retries(shard),
        "dead": keys.dead(shard),
        "parked": keys.parked(shard, endpoint),
    }
    found = [name for name, key in sets.items() if await store.execute("ZSCORE", key, delivery)]
    entries = await store.execute("XRANGE", keys.redeliveries(shard), "-", "+")
    return found + ["redeliveries" for _, fields in entries if delivery.encode() in fields]
