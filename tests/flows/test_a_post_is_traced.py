"""One post in one trace: accepted, fanned out, pushed to sockets, sent to webhooks, tried again."""

from collections.abc import AsyncIterator, Iterator

import pytest

from app.domain.traceparent import parse_traceparent
from app.store.client import Store
from tests.collector import Collector, Received, collecting
from tests.flows.service import Service, serve
from tests.receivers import Receiver, status
from tests.wait import wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
POST, EDIT = "POST /v1/posts", "PATCH /v1/posts/{post}"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield collector


@pytest.fixture
async def traced(store: Store, collector: Collector) -> AsyncIterator[Service]:
    """It traces what its callers do, and nothing else."""
    async with serve(store, tracing="otlp", tracing_sample=0) as service:
        yield service


def place(traceparent: str) -> tuple[str, str]:
    """Trace and span, in hexadecimal digits."""
    parsed = parse_traceparent(traceparent.encode())
    assert parsed is not None
    assert parsed.sampled
    return f"{parsed.trace_id:032x}", f"{parsed.span_id:016x}"


async def spans(collector: Collector, name: str, count: int = 1) -> list[Received]:
    await wait_until(lambda: len(collector.named(name)) >= count)
    found = collector.named(name)
    assert len(found) == count
    return found


async def test_a_post_is_one_trace_from_its_call_to_every_push(
    traced: Service, collector: Collector, receiver: Receiver, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("DEBUG")
    await traced.befriend(("ann", "bob"), ("ann", "eve"))
    await traced.register("bob", receiver.url)
    receiver.script.append(status(500))  # tried again
    async with traced.socket("eve") as eve:
        body = {"author": "ann", "data": {"text": "hello"}}
        post = await traced.call("POST", "/posts", body, traceparent=f"00-{TRACE}-{CALLER}-01")
        assert (await eve.next())["post"]["id"] == post["id"]
        await traced.settled(post["id"], "bob", "delivered")
    [accepted] = await spans(collector, POST)
    [fanned_out] = await spans(collector, "fan out")
    [slice_] = await spans(collector, "slice")
    [pushed] = await spans(collector, "push to sockets")
    failed, again = await spans(collector, "attempt", 2)
    everything = [accepted, fanned_out, slice_, pushed, failed, again]
    assert {span.trace for span in everything} == {TRACE}
    assert accepted.parent == CALLER
    assert fanned_out.parent == accepted.id
    assert slice_.parent == fanned_out.id
    assert pushed.parent == failed.parent == slice_.id
    # The entry of the slice is gone by then; the post still knows.
    assert again.parent == accepted.id
    assert (accepted.service, pushed.service) == ("moments-api", "moments-gateway")
    assert {fanned_out.service, slice_.service, again.service} == {"moments-worker"}
    assert [place(r.headers["traceparent"]) for r in receiver.requests] == [
        (TRACE, failed.id),
        (TRACE, again.id),
    ]
    assert (failed.is_error, again.is_error) == (True, False)
    assert failed.attributes["http.response.status_code"] == 500
    assert again.attributes["moments.attempt"] == 2
    assert fanned_out.attributes["moments.recipients"] == 2
    assert (
        fanned_out.attributes["moments.webhooks"] == fanned_out.attributes["moments.sockets"] == 1
    )
    assert (pushed.attributes["moments.recipients"], pushed.attributes["moments.sockets"]) == (1, 1)
    told = ("post accepted", "fanned out", "attempt failed", "attempt")
    lines = [record for record in caplog.records if record.message in told]
    assert [vars(line)["trace"] for line in lines] == [TRACE] * 4
    assert all(span.attributes["moments.post"] == post["id"] for span in (accepted, fanned_out))


async def test_an_edit_is_a_trace_of_its_own(
    traced: Service, collector: Collector, receiver: Receiver
):
    await traced.befriend(("ann", "bob"))
    await traced.register("bob", receiver.url)
    post = await traced.post("ann")
    await wait_until(lambda: len(receiver.requests) == 1)
    assert "traceparent" not in receiver.requests[0].headers  # of no trace
    receiver.script.append(status(500))
    edit = {"data": {"text": "better"}}
    path = f"/posts/{post['id']}"
    await traced.call("PATCH", path, edit, traceparent=f"00-{TRACE}-{CALLER}-01")
    await wait_until(lambda: len(receiver.requests) == 3)
    [accepted] = await spans(collector, EDIT)
    failed, again = await spans(collector, "attempt", 2)
    assert accepted.parent == CALLER
    assert again.parent == accepted.id
    assert {failed.trace, again.trace} == {TRACE}


async def test_what_is_of_no_trace_costs_no_span(
    traced: Service, collector: Collector, receiver: Receiver
):
    await traced.befriend(("ann", "bob"))
    await traced.register("bob", receiver.url)
    body = {"author": "ann", "data": {}}
    unsampled = await traced.call("POST", "/posts", body, traceparent=f"00-{TRACE}-{CALLER}-00")
    await traced.settled(unsampled["id"], "bob", "delivered")
    assert "traceparent" not in receiver.requests[0].headers
    assert collector.spans == []


async def test_with_tracing_off_a_traceparent_goes_nowhere(store: Store, receiver: Receiver):
    async with serve(store) as service:
        await service.befriend(("ann", "bob"))
        await service.register("bob", receiver.url)
        post = await service.call(
            "POST",
            "/posts",
            {"author": "ann", "data": {}},
            traceparent=f"00-{TRACE}-{CALLER}-01",
        )
        await service.settled(post["id"], "bob", "delivered")
    assert "traceparent" not in receiver.requests[0].headers
