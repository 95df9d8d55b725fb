"""The bundled server: its data outlives every death, and a directory has one at a time."""

import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import redis

from app.errors import DirectoryInUse, ServerNotStarted
from app.store import embedded
from app.store.embedded import EmbeddedServer
from tests.wait import block_until

# Starts a server, says its process id, and does nothing more.
_PARENT = """
import sys, time
from pathlib import Path
from app.store.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path / "data")
    yield server
    server.stop()


def test_a_restart_keeps_the_data(server: EmbeddedServer) -> None:
    with _client(server.start()) as client:
        client.set("k", "v")
    server.stop()
    assert server.pid is None
    with _client(server.start()) as client:
        assert client.get("k") == b"v"


def test_kill_9_of_the_server_keeps_the_data(server: EmbeddedServer) -> None:
    with _client(server.start()) as client:
        for number in range(1000):
            client.rpush("numbers", number)
    _kill(server)
    with _client(server.start()) as client:
        assert client.llen("numbers") == 1000


def test_it_says_when_it_is_ready_only_after_it_has_read_its_data(
    server: EmbeddedServer,
) -> None:
    with _client(server.start()) as client:
        client.eval("for i = 1, 100000 do redis.call('SET', 'k' .. i, i) end", 0)
    _kill(server)
    with _client(server.start()) as client:
        assert client.dbsize() == 100_000


def test_a_file_that_was_cut_while_being_written_is_read_up_to_there(
    server: EmbeddedServer,
) -> None:
    with _client(server.start()) as client:
        client.set("first", "1")
        client.set("second", "2")
    server.stop()
    [log] = (server.directory / "appendonlydir").glob("*.incr.aof")
    log.write_bytes(log.read_bytes()[:-3])
    with _client(server.start()) as client:
        assert client.mget("first", "second") == [b"1", None]


def test_it_is_set_up_to_keep_what_it_is_given(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, appendfsync="always", maxmemory_bytes=50_000_000)
    try:
        with _client(server.start()) as client:
            settings = client.config_get("*")
    finally:
        server.stop()
    expected = {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory": "50000000",
        "maxmemory-policy": "noeviction",
        "save": "",
        "port": "0",
    }
    assert {name: settings[name] for name in expected} == expected


def test_nobody_else_may_enter_its_directory_or_use_its_socket(server: EmbeddedServer) -> None:
    server.directory.mkdir(mode=0o755)
    server.start()
    assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((server.directory / "valkey.sock").stat().st_mode) == 0o700


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux tells")
def test_it_listens_on_its_socket_and_on_no_port(server: EmbeddedServer) -> None:
    server.start()
    path = embedded.socket_path(server.directory)
    opened: set[str] = set()
    for fd in Path(f"/proc/{server.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it has closed it since
            opened.add(os.readlink(fd))
    inodes = {
        kind: {
            f"socket:[{inode}]"
            for file in files
            for inode in re.findall(pattern, Path(f"/proc/net/{file}").read_text(), re.MULTILINE)
        }
        for kind, files, pattern in (
            ("ip", ("tcp", "tcp6", "udp", "udp6"), r"^(?: *\S+){9} +(\d+)"),
            (
                "unix",
                ("unix",),
                rf"(\d+) {re.escape(str(path))}$",
            ),
        )
    }
    assert opened & inodes["unix"]
    assert not opened & inodes["ip"]


def test_a_second_one_on_the_same_directory_is_refused(server: EmbeddedServer) -> None:
    server.start()
    second = EmbeddedServer(server.directory)
    with pytest.raises(DirectoryInUse, match=f"in use by process {os.getpid()}: stop that"):
        second.start()
    with _client(server.url) as client:
        assert client.ping()
    server.stop()
    second.start()
    second.stop()


def test_a_directory_is_free_again_when_its_owner_and_server_were_killed(
    server: EmbeddedServer,
) -> None:
    with _parent(server.directory) as (parent, pid):
        _set(server, "k", "v")
        with pytest.raises(DirectoryInUse, match=f"process {parent.pid}"):
            server.start()
        os.kill(pid, signal.SIGKILL)
    with _client(server.start()) as client:
        assert client.get("k") == b"v"


def test_a_server_whose_parent_was_killed_is_ended_and_nothing_is_lost(
    server: EmbeddedServer,
) -> None:
    with _parent(server.directory) as (_, pid):
        _set(server, "k", "v")
    assert _lives(pid)
    with _client(server.start()) as client:
        assert client.get("k") == b"v"
        assert client.info("server")["process_id"] == server.pid != pid
    block_until(lambda: not _lives(pid))


def test_a_server_without_parent_that_does_not_react_is_killed(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "STOP_TIMEOUT_S", 0.2)
    with _parent(server.directory) as (_, pid):
        _set(server, "k", "v")
        os.kill(pid, signal.SIGSTOP)
    with _client(server.start()) as client:
        assert client.get("k") == b"v"
    block_until(lambda: not _lives(pid))


@pytest.mark.parametrize("number_is_ours", [False, True])
def test_a_process_that_only_has_the_number_of_an_old_server_is_left_alone(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, number_is_ours: bool
) -> None:
    monkeypatch.setattr(embedded, "STOP_TIMEOUT_S", 0.05)
    server.start()
    server.stop()
    lock = server.directory / "server.lock"
    with _running("flock", str(lock), "sleep", "600"), _running("sleep", "600") as stranger:
        block_until(lambda: _is_locked(lock))
        number = os.getpid() if number_is_ours else stranger.pid
        (server.directory / "valkey.pid").write_text(f"{number}\n")
        with pytest.raises(DirectoryInUse, match="end it by hand"):
            server.start()
        assert stranger.poll() is None


def test_a_server_that_cannot_start_says_why(server: EmbeddedServer) -> None:
    server.directory.mkdir()
    (server.directory / "appendonlydir").write_text("in the way")
    with pytest.raises(ServerNotStarted, match=r"(?s)ended at once.*appendonlydir"):
        server.start()
    (server.directory / "appendonlydir").unlink()
    server.start()


def test_a_server_that_does_not_answer_is_not_waited_for_long(
    server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mute = tmp_path / "mute"
    mute.write_text("#!/bin/sh\nexec sleep 600\n")
    mute.chmod(0o700)
    monkeypatch.setattr(embedded, "server_binary", lambda: str(mute))
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 0.1)
    with pytest.raises(ServerNotStarted, match="is not ready"):
        server.start()
    assert server.pid is None


def test_a_platform_without_a_bundled_server_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(ServerNotStarted, match="riscv64: set MOMENTS_REDIS_URL"):
        embedded.server_binary()


def test_a_long_path_gets_a_short_private_socket_that_stays_the_same(tmp_path: Path) -> None:
    directory = tmp_path / ("long " * 30)
    server = EmbeddedServer(directory)
    try:
        first = server.start()
        path = Path(unquote(urlsplit(first).path))
        assert len(os.fsencode(path)) < 100
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        with _client(first) as client:
            client.set("k", "v")
        server.stop()
        assert server.start() == first
        with _client(first) as client:
            assert client.get("k") == b"v"
    finally:
        server.stop()
    assert not path.parent.exists()


def test_a_long_path_gets_the_same_socket_in_whatever_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, temporary = tmp_path / ("x" * 120), tmp_path / ("y" * 120)
    temporary.mkdir()
    usual = embedded.socket_path(directory)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert embedded.socket_path(directory) == usual
    usual.parent.rmdir()


def test_a_short_path_that_somebody_else_made_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_SHORT_DIRECTORY", tmp_path)
    directory = tmp_path / ("x" * 120)
    embedded.socket_path(directory).parent.chmod(0o755)
    with pytest.raises(ServerNotStarted, match="not a private directory of ours"):
        EmbeddedServer(directory).start()


def test_stopping_what_does_not_run_is_nothing(server: EmbeddedServer) -> None:
    server.stop()
    server.start()
    server.stop()
    server.stop()


def test_a_start_waits_for_nothing_but_the_server(server: EmbeddedServer) -> None:
    started = time.monotonic()
    server.start()
    assert time.monotonic() - started < 5


@contextmanager
def _client(url: str) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=unquote(urlsplit(url).path)) as client:
        yield client


def _set(server: EmbeddedServer, key: str, value: str) -> None:
    with _client(server.url) as client:
        client.set(key, value)


@contextmanager
def _parent(directory: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that runs a server there; it is killed at the end, its server is not."""
    command = [sys.executable, "-c", _PARENT, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            yield parent, int(parent.stdout.readline())
        finally:
            parent.kill()


@contextmanager
def _running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _kill(server: EmbeddedServer) -> None:
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    block_until(lambda: server.pid is None)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _is_locked(path: Path) -> bool:
    return subprocess.run(["flock", "-n", str(path), "true"], check=False).returncode != 0
