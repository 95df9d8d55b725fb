"""What becomes of a delivery, of its endpoint and of the neighbours, for each way to misbehave.

All of them misbehave at once, in one run of the whole service, while others get their posts.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from statistics import median
from typing import Any

import pytest
import uvloop

from app.receiver import Behaviour, Received
from app.receiver.catalogue import BIG_BODY_BYTES, NAMES, behaviours
from app.receiver.misbehaviour import refuse
from app.store.embedded import EmbeddedServer
from tests.flows.service import Service, serve
from tests.opened_store import opened
from tests.receivers import Receiver, refusing_port
from tests.wait import wait_until

DEADLINE_S = 1.5
ATTEMPTS = 2
SETTINGS = {
    "request_deadline_s": DEADLINE_S,
    "retry_schedule_s": "0.05",
    "breaker_failures": ATTEMPTS,
}
NEIGHBOURS = 5
ROUNDS = 8


@dataclass(frozen=True)
class Case:
    """One receiver, and what is to become of the first post to it, and of its endpoint."""

    state: str
    attempts: int
    status: int | None = None
    error: str | None = None
    endpoint: str = "active"
    failures: int = 0


def delivered(code: int = 200) -> Case:
    return Case("delivered", 1, code)


def dead(code: int | None, error: str) -> Case:
    """Every attempt failed, and as many failures open the breaker."""
    return Case("dead", ATTEMPTS, code, error, "open", ATTEMPTS)


CASES = {
    "ok": delivered(204),
    "status=299": delivered(299),
    "status=304": dead(304, "http_3xx"),
    "status=404": dead(404, "http_4xx"),
    "status=410": Case("dead", 1, 410, "http_4xx", "disabled", 1),
    "status=429": Case("pending", 0, 429, "http_4xx"),
    "status=500": dead(500, "http_5xx"),
    "status=503": dead(503, "http_5xx"),
    "retry-after=30": Case("pending", 0, 429, "http_4xx"),
    "retry-date=30": Case("retrying", 1, 503, "http_5xx", failures=1),
    "redirect": dead(302, "http_3xx"),
    "drip": dead(None, "timeout"),
    "stop-after-head": dead(200, "timeout"),
    "hang": dead(None, "timeout"),
    "silence": dead(None, "timeout"),
    "big-body": delivered(),
    "endless-body": delivered(),
    "endless-head": dead(None, "protocol"),
    "gzip-bomb": delivered(),
    "short-body": dead(200, "protocol"),
    "long-body": delivered(),
    "chunked": delivered(),
    "chunked-garbage": dead(200, "protocol"),
    "until-close": delivered(),
    "two-responses": delivered(),
    "interim": delivered(),
    "banner": dead(None, "protocol"),
    "close": delivered(),
    "close-idle": delivered(),
    "close-unanswered": dead(None, "reset"),
    "reset-before-request": dead(None, "reset"),
    "reset-before-response": dead(None, "reset"),
    "reset-in-response": dead(200, "reset"),
    "reset-after-response": delivered(),
    "refuse": dead(None, "connect"),
    "nobody-listens": dead(None, "connect"),
}
NOT_SENT = {"open", "disabled"}


@dataclass
class Ending:
    """What was seen of one case: two posts, the endpoint after them, and what its receiver got."""

    first: Any
    second: Any
    endpoint: Any
    log: list[Any]
    requests: list[Received]


@dataclass
class Seen:
    endings: dict[str, Ending]
    latencies_s: list[float]  # of the neighbours
    neighbours: list[Any]  # their deliveries


@pytest.fixture(scope="module")
def seen(single_server: EmbeddedServer) -> Seen:
    return uvloop.run(run(single_server.url))


async def run(url: str) -> Seen:
    async with AsyncExitStack() as open_:
        store = await open_.enter_async_context(opened(url))
        await store.broadcast("FLUSHALL")
        service = await open_.enter_async_context(serve(store, **SETTINGS))
        bad = await register_all(service, open_)
        neighbours = Neighbours()
        await neighbours.register(service, open_)
        first = await service.post("alice")
        posting = asyncio.create_task(neighbours.post_all(service))
        await settle(service, first["id"], CASES)
        await posting
        second = await service.post("alice")
        await wait_until(lambda: fanned_out(service, second["id"]))
        again = {name: second_time(case) for name, case in CASES.items()}
        await settle(service, second["id"], {name: case for name, case in again.items() if case})
        posts = first["id"], second["id"]
        endings = {name: await ending(service, name, bad[name], posts) for name in CASES}
        return Seen(endings, neighbours.latencies_s, await neighbours.deliveries(service))


@dataclass
class Bad:
    endpoint: str
    receiver: Receiver | None


async def register_all(service: Service, open_: AsyncExitStack) -> dict[str, Bad]:
    registered = {}
    for name in CASES:
        receiver, url = None, f"http://127.0.0.1:{open_.enter_context(refusing_port())}/"
        if name != "nobody-listens":
            receiver = await open_.enter_async_context(Receiver(*script(name), default=last(name)))
            url = receiver.url
        await service.befriend(("alice", name_of(name)))
        endpoint = await service.register(name_of(name), url)
        registered[name] = Bad(endpoint["id"], receiver)
    return registered


def name_of(case: str) -> str:
    return case.replace("=", "-")


def script(name: str) -> list[Behaviour]:
    """Behaviours that take a connection over before there is a request have to be listed."""
    behaviour = last(name)
    return [behaviour] * 20 if behaviour.before_request else []


def last(name: str) -> Behaviour:
    """The behaviour itself, but for what takes too long for a test."""
    if name == "refuse":
        return refuse(for_s=60)
    (behaviour,) = behaviours(name)
    return behaviour


class Neighbours:
    """Friends of somebody else, at the same host, whose receivers are well."""

    def __init__(self) -> None:
        self.users = [f"well-{number}" for number in range(NEIGHBOURS)]
        self.latencies_s: list[float] = []
        self._receivers: list[Receiver] = []
        self._posts: list[str] = []

    async def register(self, service: Service, open_: AsyncExitStack) -> None:
        for user in self.users:
            receiver = await open_.enter_async_context(Receiver())
            self._receivers.append(receiver)
            await service.befriend(("carol", user))
            await service.register(user, receiver.url)

    async def post_all(self, service: Service) -> None:
        for number in range(1, ROUNDS + 1):
            began = time.monotonic()
            self._posts.append((await service.post("carol"))["id"])
            for receiver in self._receivers:
                await wait_until(partial(_has_got, receiver, number))
                self.latencies_s.append(time.monotonic() - began)
            await asyncio.sleep(0.1)

    async def deliveries(self, service: Service) -> list[Any]:
        found = [await service.deliveries(post, channel="webhook") for post in self._posts]
        return [item for page in found for item in page["items"]]


def _has_got(receiver: Receiver, count: int) -> bool:
    return len(receiver.requests) == count


async def fanned_out(service: Service, post: str) -> bool:
    return (await service.deliveries(post))["fanned_out"]


async def settle(service: Service, post: str, cases: dict[str, Case]) -> None:
    """Until all that came of a post is as it should be; those for whom it is not are named."""
    found: dict[str, Any] = {}

    async def settled() -> bool:
        items = (await service.deliveries(post, channel="webhook", limit="200"))["items"]
        by_user = {item["recipient"]: item for item in items}
        found.clear()
        for name, case in cases.items():
            delivery = by_user.get(name_of(name))
            if delivery is None or not fits(delivery, case):
                found[name] = delivery
        return not found

    try:
        await wait_until(settled, ATTEMPTS * DEADLINE_S + 8, poll_s=0.05)
    except AssertionError:
        raise AssertionError(f"not as they should be: {found}") from None


def fits(delivery: Any, case: Case) -> bool:
    return (
        delivery["state"] == case.state
        and delivery["attempts"] == case.attempts
        and last_of(delivery) == (case.status, case.error)
    )


def last_of(delivery: Any) -> tuple[int | None, str | None]:
    return delivery.get("last_status"), delivery.get("last_error")


def second_time(case: Case) -> Case | None:
    """The second post: as the first, but nothing is sent any more where too much has failed.
    None where it is not looked at again before the time that was asked for."""
    if case.endpoint in NOT_SENT:
        return Case("pending", 0, None, "parked")
    return case if case.state == "delivered" else None


async def ending(service: Service, name: str, bad: Bad, posts: tuple[str, str]) -> Ending:
    first, second = [await service.delivery(post, name_of(name), "webhook") for post in posts]
    return Ending(
        first=first,
        second=second,
        endpoint=await service.call("GET", f"/endpoints/{bad.endpoint}"),
        log=(await service.call("GET", f"/endpoints/{bad.endpoint}/attempts"))["items"],
        requests=[] if bad.receiver is None else bad.receiver.requests,
    )


@pytest.mark.parametrize("name", CASES)
def test_each_delivery_and_its_endpoint_end_as_they_should(seen: Seen, name: str):
    case, ending = CASES[name], seen.endings[name]
    first, endpoint = ending.first, ending.endpoint
    assert first["state"] == case.state
    assert first["attempts"] == case.attempts
    assert last_of(first) == (case.status, case.error)
    assert endpoint["state"] == case.endpoint
    assert endpoint["consecutive_failures"] == case.failures
    assert (endpoint["last_success_at"] is not None) == (case.state == "delivered")


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.attempts])
def test_every_attempt_is_in_the_log_with_its_class(seen: Seen, name: str):
    case, ending = CASES[name], seen.endings[name]
    of_first = [entry for entry in ending.log if entry["delivery"] == ending.first["id"]]
    assert [entry["attempt"] for entry in of_first] == list(range(case.attempts, 0, -1))
    assert {entry["error"] for entry in of_first} <= {case.error, "reset"}
    assert of_first[0]["error"] == case.error
    longest_ms = max(entry["duration_ms"] for entry in of_first)
    assert longest_ms < DEADLINE_S * 1000 + 500


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.endpoint in NOT_SENT])
def test_an_endpoint_that_failed_too_often_is_sent_nothing_more_and_its_next_post_waits(
    seen: Seen, name: str
):
    ending = seen.endings[name]
    assert (ending.second["state"], ending.second["attempts"]) == ("pending", 0)
    assert ending.second["last_error"] == "parked"
    assert ending.second["id"] not in {request.id for request in ending.requests}


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.state == "delivered"])
def test_one_that_accepts_in_an_odd_way_gets_each_post_once(seen: Seen, name: str):
    ending = seen.endings[name]
    assert ending.second["state"] == "delivered"
    assert [one.id for one in ending.requests] == [ending.first["id"], ending.second["id"]]


@pytest.mark.parametrize("name", ["retry-after=30", "retry-date=30"])
def test_who_says_when_to_come_again_is_not_asked_before(seen: Seen, name: str):
    ending = seen.endings[name]
    due = datetime.fromisoformat(ending.first["next_attempt_at"])
    wait_s = (due - datetime.fromisoformat(ending.first["updated_at"])).total_seconds()
    assert 28.9 < wait_s < 33
    assert len(ending.requests) == 1


def test_back_pressure_goes_on_without_spending_an_attempt(seen: Seen):
    ending = seen.endings["status=429"]
    assert len(ending.requests) > 1
    assert {request.attempt for request in ending.requests} == {"1"}


def test_a_redirect_is_not_followed_and_a_bomb_not_unpacked(seen: Seen):
    assert len(seen.endings["redirect"].requests) == ATTEMPTS
    bomb = seen.endings["gzip-bomb"].log[0]["response"].encode()
    assert 0 < len(bomb) < 1024
    assert bomb.decode().strip("\0")  # unpacked it would be made of nothing else
    assert len(seen.endings["big-body"].log[0]["response"]) < 1024 < BIG_BODY_BYTES


def test_the_neighbours_get_theirs_at_once_and_at_the_first_attempt(seen: Seen):
    assert len(seen.neighbours) == NEIGHBOURS * ROUNDS
    assert {(item["state"], item["attempts"]) for item in seen.neighbours} == {("delivered", 1)}
    # Whoever had to wait for one that hangs would take the deadline. Only gross misses count here.
    assert median(seen.latencies_s) < DEADLINE_S / 2


def test_every_behaviour_of_the_catalogue_has_its_case():
    assert set(NAMES) <= set(CASES)
    assert {"retry-after", "retry-date", "status"} <= {name.partition("=")[0] for name in CASES}
