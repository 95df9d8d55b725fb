"""What becomes of spans: sampled, sent, dropped, refused."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from app.commands.environment import read_settings
from app.commands.tracing import traced
from app.domain.traceparent import Traceparent, parse_traceparent
from app.errors import CommandFailed
from app.log import mask
from app.settings import Settings
from app.tracing import Tracer, make_tracer
from tests.collector import Collector, collecting
from tests.store_servers import free_ports
from tests.wait import wait_until

CALLER = Traceparent(0xABCDEF << 64 | 1, 0x1234, sampled=True)
UNSAMPLED = Traceparent(CALLER.trace_id, CALLER.span_id, sampled=False)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield collector


@asynccontextmanager
async def on(**settings: object) -> AsyncIterator[Tracer]:
    given = Settings.model_validate({"tracing": "otlp", "tracing_sample": 1, **settings})
    async with traced(given, "api") as tracer:
        assert tracer is not None
        yield tracer


async def test_a_span_tells_who_did_what_and_when(collector: Collector):
    async with on() as tracer:
        span = tracer.begin("fan out", "consumer", CALLER.encode(), {"moments.post": "p1"})
        assert span is not None
        span.add({"moments.recipients": 7})
        span.end()
    [sent] = collector.spans
    assert (sent.service, sent.name, sent.kind) == ("moments-api", "fan out", "consumer")
    assert sent.attributes == {"moments.post": "p1", "moments.recipients": 7}
    assert (sent.trace, sent.parent) == (f"{CALLER.trace_id:032x}", f"{CALLER.span_id:016x}")
    continued = parse_traceparent(span.traceparent)
    assert continued is not None
    assert continued.sampled
    assert (f"{continued.trace_id:032x}", f"{continued.span_id:016x}") == (sent.trace, sent.id)
    assert not sent.is_error
    assert sent.began_ns <= sent.ended_ns
    assert tracer.stats.results() == {"exported": 1, "failed": 0, "dropped": 0}


async def test_what_failed_is_seen(collector: Collector):
    async with on() as tracer:
        span = tracer.begin("attempt", "client", None, {})
        assert span is not None
        span.fail("timeout")
        span.end()
    assert [sent.is_error for sent in collector.spans] == [True]
    assert collector.spans[0].parent == ""


async def test_the_caller_decides_what_is_recorded_else_the_share_does(collector: Collector):
    async with on(tracing_sample=0) as tracer:
        assert tracer.begin("post", "server", None, {}) is None
        assert tracer.begin("post", "server", b"nonsense", {}) is None
        assert tracer.begin("post", "server", UNSAMPLED.encode(), {}) is None
        span = tracer.begin("post", "server", CALLER.encode(), {})
        assert span is not None
        span.end()
    async with on(tracing_sample=1) as tracer:
        assert tracer.begin("post", "server", UNSAMPLED.encode(), {}) is None
    assert len(collector.spans) == 1


async def test_about_as_many_are_recorded_as_the_share_says(collector: Collector):
    async with on(tracing_sample=0.2) as tracer:
        begun = [tracer.begin("post", "server", None, {}) for _ in range(2_000)]
    recorded = sum(1 for span in begun if span is not None)
    assert 250 < recorded < 550  # 400, and 8 standard deviations


async def test_more_spans_than_may_wait_are_dropped_and_counted(collector: Collector):
    collector.answers.clear()
    async with on(tracing_spans_max=10) as tracer:
        for _ in range(25):
            span = tracer.begin("attempt", "client", None, {})
            assert span is not None
            span.end()
        assert tracer.stats.waiting == 10
        assert tracer.stats.results() == {"exported": 0, "failed": 0, "dropped": 15}
        collector.answers.set()
    assert tracer.stats.results() == {"exported": 10, "failed": 0, "dropped": 15}
    assert len(collector.spans) == 10


async def test_a_collector_that_takes_nothing_is_told_of_once_and_disturbs_nobody(
    collector: Collector, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    collector.status = 400
    async with on() as tracer:

        def one() -> None:
            span = tracer.begin("attempt", "client", None, {})
            assert span is not None
            span.end()
            tracer.flush(5)

        one(), one()
        assert tracer.stats.failed == 2
        collector.status = 200
        one()
        assert tracer.stats.results() == {"exported": 1, "failed": 2, "dropped": 0}
    told = [record.message for record in caplog.records]
    assert told.count("the collector does not take spans") == 1
    assert told.count("the collector takes spans again") == 1
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


async def test_the_end_of_a_process_does_not_wait_long_for_a_collector_that_is_slow(
    collector: Collector, caplog: pytest.LogCaptureFixture
):
    collector.answers.clear()
    before = set(threading.enumerate())
    tracer = make_tracer("api", ratio=1, spans_max=10)
    span = tracer.begin("attempt", "client", None, {})
    assert span is not None
    span.end()
    await tracer.close(within_s=0.05)
    assert [r.message for r in caplog.records] == ["spans were left unsent"]
    assert tracer.stats.results() == {"exported": 0, "failed": 0, "dropped": 0}
    collector.answers.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


async def test_a_collector_that_is_away_costs_spans_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    [port] = free_ports(1)  # nobody is there
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")  # else it is tried for 10 s
    async with on() as tracer:
        span = tracer.begin("attempt", "client", None, {})
        assert span is not None
        span.end()
    assert tracer.stats.results() == {"exported": 0, "failed": 1, "dropped": 0}
    told = [record.message for record in caplog.records]
    assert told == ["the collector does not take spans"]


async def test_without_its_packages_tracing_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "app.tracing", None)
    with pytest.raises(CommandFailed, match=r"pip install 'moments-push\[tracing\]'"):
        async with on():
            pass


def test_nothing_of_it_is_imported_while_it_is_off():
    """By any process of the service: the command line imports all of them."""
    code = (
        "import sys, app.cli, app.commands.api, app.commands.gateway, app.commands.worker\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
        "assert 'app.tracing' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=dict(os.environ))


async def test_off_is_the_default():
    async with traced(Settings(), "api") as tracer:
        assert tracer is None


async def test_spans_that_wait_are_seen_to_leave(collector: Collector):
    async with on() as tracer:
        span = tracer.begin("attempt", "client", None, {})
        assert span is not None
        span.end()
        await wait_until(lambda: tracer.stats.waiting == 0)
    assert len(collector.spans) == 1


def test_what_the_collector_is_told_who_we_are_by_is_masked(monkeypatch: pytest.MonkeyPatch):
    headers = "authorization=Bearer%20Zx81-Quartz-Fen,x-scope=Moss-Lantern-77"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://me:Rust-Harbour-5@traces/")
    read_settings()
    said = mask("Zx81-Quartz-Fen, Moss-Lantern-77 and Rust-Harbour-5 at traces")
    assert said == "***, *** and *** at traces"
