"""Real child processes: small programs of Python, kept running by a `Child`."""

import asyncio
import contextlib
import os
import sys
import time

import pytest

from app.commands.children import Child, Role, how_it_ended
from app.commands.restart import RestartPolicy
from app.errors import CommandFailed
from tests.wait import wait_until

QUICK = RestartPolicy(first_s=0.01, longest_s=0.02)
WAITS_FOR_EOF = "import sys; print('up', flush=True); sys.stdin.read()"
STOPS_ON_TERM = """
import signal, sys
def stop(*_):
    print('bye')
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print('up', flush=True)
while True:
    signal.pause()
"""
IGNORES_TERM = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up', flush=True)
while True:
    signal.pause()
"""


class Screen:
    """Collects what children print."""

    def __init__(self):
        self.lines = []

    async def print(self, role, lines):
        self.lines += lines

    async def report(self, message, **fields):
        self.lines.append((message, fields))

    async def until(self, line):
        await wait_until(lambda: line in self.lines, 30)


@contextlib.asynccontextmanager
async def running(code, screen, ready=None, policy=QUICK):
    async def always():
        return True

    role = Role("worker-1", (sys.executable, "-c", code), dict(os.environ), ready or always)
    child = Child(role, screen, policy)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(child.run())
        try:
            yield child
        finally:
            await child.stop(5)


async def test_every_line_of_a_child_is_passed_on_to_its_last():
    screen = Screen()
    async with running(STOPS_ON_TERM, screen) as child:
        await screen.until("up")
        await asyncio.wait_for(child.ready.wait(), 5)
        await child.stop(5)
    assert screen.lines == ["up", "bye"]


async def test_a_child_that_does_not_end_in_time_is_killed():
    screen = Screen()
    async with running(IGNORES_TERM, screen) as child:
        await screen.until("up")
        began = time.monotonic()
        await child.stop(0.05)
    assert time.monotonic() - began < 3
    assert ("worker-1 did not end in time and is killed", {"grace_s": 0.05}) in screen.lines


async def test_a_child_that_dies_is_started_again_with_back_off():
    screen = Screen()
    code = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"
    async with running(code, screen) as child:
        for restart_s in (0.01, 0.02, 0.02):
            await asyncio.wait_for(child.ready.wait(), 5)
            await wait_until(lambda: screen.lines)
            os.kill(int(screen.lines.pop()), 9)
            await wait_until(lambda: len(screen.lines) == 2)
            message, fields = screen.lines.pop(0)
            assert message == "worker-1 ended (killed by SIGKILL) and is started again"
            assert fields == {"restart_s": restart_s}


async def test_a_child_that_never_gets_ready_is_given_up_with_its_last_words():
    async def never():
        return False

    screen = Screen()
    code = "import sys; print('no such setting'); sys.exit(3)"
    with pytest.raises(ExceptionGroup) as caught:
        async with running(code, screen, ready=never):
            await asyncio.sleep(30)
    (error,) = caught.value.exceptions
    assert isinstance(error, CommandFailed)
    assert "ended 5 times before it was ready (exit code 3)" in str(error)
    assert "no such setting" in str(error)
    assert screen.lines.count("no such setting") == 5


async def test_the_input_of_a_child_ends_with_its_parent():
    program = f"""
import asyncio, os, sys
sys.path.insert(0, {os.getcwd()!r})
from tests.commands.test_children import Screen, running
async def main():
    screen = Screen()
    code = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"
    async with running(code, screen):
        while not screen.lines:
            await asyncio.sleep(0.01)
        print(screen.lines[0], flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    pid = int(await asyncio.wait_for(parent.stdout.readline(), 20))
    parent.kill()
    await parent.wait()
    await wait_until(lambda: not _is_running(pid))


def _is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_full_screen_holds_the_child_up_and_loses_nothing():
    class Slow(Screen):
        def __init__(self):
            super().__init__()
            self.gate = asyncio.Event()

        async def print(self, role, lines):
            await self.gate.wait()
            await super().print(role, lines)

    screen = Slow()
    code = (
        "import sys\nfor n in range(50_000): print(n)\nprint('end', flush=True); sys.stdin.read()"
    )
    async with running(code, screen) as child:
        await asyncio.wait_for(child.ready.wait(), 5)
        assert screen.lines == []
        screen.gate.set()
        await screen.until("end")
    assert screen.lines == [*map(str, range(50_000)), "end"]


async def test_nothing_is_started_once_it_is_to_stop():
    screen = Screen()
    async with running("print('up')", screen) as child:
        await child.stop(5)
        lines = len(screen.lines)
    assert len(screen.lines) == lines


@pytest.mark.parametrize(
    ("code", "words"),
    [(1, "exit code 1"), (-15, "killed by SIGTERM"), (-99, "killed by signal 99")],
)
def test_how_a_process_ended_is_told_in_words(code, words):
    assert how_it_ended(code) == words
