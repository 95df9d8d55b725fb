"""What a trace shows of a fan-out that its worker had to leave to another."""

from app.clock import now_ms
from app.domain.post import Audience
from app.tracing import make_tracer
from tests.collector import collecting
from tests.wait import wait_until
from tests.workers.rig import Rig, users_of
from tests.workers.test_fanout import ANN, fanned_out, fanning_out, has_slices
from workers.slices import LONG

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01".encode()


async def test_a_fan_out_that_is_taken_over_has_a_span_of_each_owner(single_rig: Rig, monkeypatch):
    monkeypatch.setattr("workers.fanout.LONG_GAP_S", 60)
    crowd = users_of(1, 2 * (LONG + 2))
    await single_rig.befriend(ANN, *crowd)
    accepted = await single_rig.posts.accept(
        *(ANN, "post", b"{}", Audience()),
        idempotency=None,
        now_ms=now_ms(),
        traceparent=TRACEPARENT,
    )
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        tracer = make_tracer("worker", ratio=0, spans_max=100)
        async with fanning_out(single_rig, tracer=tracer, slice_max=2):
            await wait_until(lambda: has_slices(single_rig, crowd, LONG))
        monkeypatch.setattr("workers.fanout.LONG_GAP_S", 0)
        async with fanning_out(single_rig, tracer=tracer, slice_max=2):
            await fanned_out(single_rig, accepted.post.id)
            await wait_until(lambda: tracer.stats.ended >= 2 + LONG + 2)
        await tracer.close()
    left, finished = collector.named("fan out")
    assert (left.is_error, finished.is_error) == (True, False)
    assert {span.trace for span in collector.spans} == {TRACE}
    slices = [span.attributes["moments.slice"] for span in collector.named("slice")]
    # The slice that was done last is looked at again, and found to be there.
    assert sorted(set(slices)) == list(range(LONG + 2))
    parents = {span.parent for span in collector.named("slice")}
    assert parents == {left.id, finished.id}
