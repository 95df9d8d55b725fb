"""Each example runs as its first lines say, against a real service."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.store.embedded import EmbeddedServer
from moments_client import Conflict, Moments
from tests.clients.python.live import Live, live
from tests.receivers import Receiver
from tests.store_servers import free_ports
from tests.wait import wait_until

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SECRET = "whsec_dGhpcyBzZWNyZXQgaXMgb25seSBmb3IgdGhlIGV4YW1wbGVz"
START_S = 20.0

RECEIVERS = {
    "receiver_starlette": "-m uvicorn receiver_starlette:app --port {port}",
    "receiver_fastapi": "-m uvicorn receiver_fastapi:app --port {port}",
    "receiver_django": "receiver_django.py runserver --noreload {port}",
    "receiver_flask": "-m flask --app receiver_flask run --port {port}",
}
OTHERS = {"follow_a_feed", "post_and_watch"}


@pytest.fixture(scope="module")
def running(single_server: EmbeddedServer) -> Iterator[Live]:
    """A service that sends nothing to an address before it has echoed a challenge."""
    with live(
        single_server.url,
        verify_endpoints=True,
        verify_schedule_s="0.1,0.1,0.1,0.1,0.1",
        challenges_per_host_max=1_000,
    ) as found:
        yield found


@pytest.fixture
async def moments(running: Live) -> AsyncIterator[Moments]:
    async with Moments(running.url, running.key) as moments:
        yield moments


class Program:
    """An example in a process of its own, and what it has printed."""

    def __init__(self, command: str, directory: Path, running: Live, **environment: str) -> None:
        self._printed = directory / "printed.txt"
        inherited = {name: one for name, one in os.environ.items() if "MOMENTS" not in name}
        paths = [str(ROOT / "clients" / "python" / "src"), str(EXAMPLES)]
        with self._printed.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, *command.split(" ")],
                # As in a terminal: tests that a script began in its background ignore it.
                preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
                cwd=directory,
                env={
                    **inherited,
                    "PYTHONPATH": os.pathsep.join(paths),
                    "MOMENTS_URL": running.url,
                    "MOMENTS_SOCKET_URL": running.socket_url,
                    "MOMENTS_KEY": running.key,
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self) -> str:
        return self._printed.read_text()

    async def shows(self, *parts: str) -> None:
        def there() -> bool:
            assert self.process.poll() in (None, 0), self.text
            return all(part in self.text for part in parts)

        await wait_until(there, START_S)

    def end(self) -> None:
        """Ctrl+C."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextmanager
def program(command: str, directory: Path, running: Live, **env: str) -> Iterator[Program]:
    found = Program(command, directory, running, **env)
    try:
        yield found
    finally:
        found.end()


def test_every_example_is_run_here_and_says_how():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(RECEIVERS) | OTHERS
    for name, command in RECEIVERS.items():
        told = (EXAMPLES / f"{name}.py").read_text()
        assert command.removeprefix("-m ").format(port=9000) in told
        assert "MOMENTS_SECRET=whsec_…" in told
    for name in OTHERS:
        assert f"python {name}.py" in (EXAMPLES / f"{name}.py").read_text()


@pytest.mark.parametrize("name", RECEIVERS)
async def test_a_receiver_verifies_its_address_and_takes_signed_webhooks(
    name: str, running: Live, moments: Moments, tmp_path: Path
):
    [port] = free_ports(1)
    author, reader = f"author-{name}", f"reader-{name}"
    await moments.graph.befriend(author, reader)
    command = RECEIVERS[name].format(port=port)
    if command.startswith("receiver_"):
        command = str(EXAMPLES / command)
    with program(command, tmp_path, running, MOMENTS_SECRET=SECRET) as receiver:
        url = f"http://127.0.0.1:{port}/moments"
        endpoint = await moments.endpoints.create(reader, url, secret=SECRET)
        assert endpoint.state == "unverified"
        post = await moments.posts.create(author, {"text": f"hello, {reader}"})
        await wait_until(lambda: _verified(moments, endpoint.id), START_S, 0.1)
        await receiver.shows(f"{reader} post.created", post.id, f"hello, {reader}")
        await wait_until(lambda: _delivered(moments, post.id), START_S)
        assert (await moments.endpoints.ping(endpoint.id)).status == 204

        await moments.endpoints.rotate_secret(endpoint.id, overlap_s=0)
        refused = await wait_until(lambda: _refused(moments, endpoint.id), START_S, 0.1)
        assert "no signature in webhook-signature matches" in refused.response


async def _verified(moments: Moments, endpoint: str) -> bool:
    found = await moments.endpoints.get(endpoint)
    if found.state == "unverified" and found.verification and found.verification.next_at is None:
        with contextlib.suppress(Conflict):  # it has just echoed one
            await moments.endpoints.verify(endpoint)  # it was not there yet for any before
    return found.state == "active"


async def _delivered(moments: Moments, post: str) -> list[Any]:
    return await moments.deliveries.of_post(post, channel="webhook", state="delivered").all()


async def _refused(moments: Moments, endpoint: str) -> Any:
    """The attempt of a ping that was signed with another secret."""
    attempt = await moments.endpoints.ping(endpoint)
    return attempt if attempt.status == 401 else None


async def test_a_feed_is_followed_and_gone_on_with(running: Live, moments: Moments, tmp_path: Path):
    await moments.graph.befriend("alice", "bob")
    await moments.posts.create("alice", {"text": "one"})
    command = f"{EXAMPLES / 'follow_a_feed.py'} bob"
    with program(command, tmp_path, running) as follower:
        await follower.shows("1 post.created by alice: {'text': 'one'}")
        await moments.posts.create("alice", {"text": "two"})
        await follower.shows("2 post.created by alice: {'text': 'two'}")
    missed = await moments.posts.create("alice", {"text": "three"})
    await wait_until(lambda: _is_fanned_out(moments, missed.id))
    with program(command, tmp_path, running) as follower:
        await follower.shows("3 post.created by alice: {'text': 'three'}")
    offsets = [line.split(" ")[0] for line in follower.text.splitlines()]
    assert offsets == ["1", "2", "3"]


async def _is_fanned_out(moments: Moments, post: str) -> bool:
    return (await moments.deliveries.of_post(post).first()).fanned_out


async def test_a_post_is_watched_on_its_way(running: Live, moments: Moments, tmp_path: Path):
    await moments.graph.befriend("carl", "dora")
    async with Receiver(echoes=True) as receiver:
        endpoint = await moments.endpoints.create("dora", receiver.url)
        await wait_until(lambda: _verified(moments, endpoint.id))
        command = f"{EXAMPLES / 'post_and_watch.py'} carl hello"
        with program(command, tmp_path, running) as watcher:
            await watcher.shows("was accepted at", "dora: delivered, attempts: 1")
            await wait_until(lambda: watcher.process.poll() is not None, START_S)
        assert watcher.process.returncode == 0


@pytest.mark.parametrize("name", ["follow_a_feed", "post_and_watch"])
def test_an_example_that_is_given_nothing_says_what_it_takes(name: str):
    paths = {"PYTHONPATH": str(ROOT / "clients" / "python" / "src")}
    command = [sys.executable, EXAMPLES / f"{name}.py"]
    ran = subprocess.run(command, env=paths, capture_output=True, text=True)
    assert ran.returncode == 1
    assert f"MOMENTS_KEY=mk_… python {name}.py" in ran.stderr
