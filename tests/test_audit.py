"""`scripts.audit` with pip-audit itself, against an index of the tests that speaks for pypi.org.

It stands behind a proxy, as the index does in many a company: the client connects through it, finds
a certificate of an authority that it is told to trust, and asks as it always does.
"""

import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.audit import read, tell
from tests.certificates import Authority
from tests.store_servers import free_ports

ROOT = Path(__file__).parents[1]
LOCK = "good==1.0 --hash=sha256:{0}\nbad==2.0 --hash=sha256:{0}\n".format("0" * 64)
NONE = b'{"vulnerabilities": []}'
FOUND = json.dumps(
    {
        "vulnerabilities": [
            {
                "id": "PYSEC-2026-1",
                "aliases": ["CVE-2026-0001"],
                "details": "It lets anybody in.",
                "fixed_in": ["2.1"],
                "withdrawn": None,
            }
        ]
    }
).encode()

Answers = Callable[[str], tuple[int, bytes] | None]  # by path; None: it falls silent


@contextmanager
def index(folder: Path, answers: Answers) -> Iterator[dict[str, str]]:
    """The environment in which pypi.org is this index."""
    authority = Authority(folder)
    context = authority.server_context("pypi.org")
    over = threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():  # CONNECT pypi.org:443, and its headers
                pass
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            with context.wrap_socket(self.request, server_side=True) as secured:
                asked = secured.makefile("rb")
                path = asked.readline().split()[1].decode()
                while asked.readline().strip():
                    pass
                answer = answers(path)
                if answer is None:
                    over.wait(20)
                    return
                status, body = answer
                head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\nconnection: close"
                secured.sendall(head.encode() + b"\r\n\r\n" + body)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Who was cut off is not to be complained of."""

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        proxy = f"http://127.0.0.1:{server.server_address[1]}"
        yield {"HTTPS_PROXY": proxy, "REQUESTS_CA_BUNDLE": str(authority.ca_file)}
        over.set()
        server.shutdown()


def audit(
    folder: Path, given: dict[str, str], *options: str, lock: str = LOCK
) -> tuple[int, str, str]:
    file = folder / "some.lock"
    file.write_text(lock)
    kept = {name: value for name, value in os.environ.items() if "PROXY" not in name.upper()}
    cache = {"PIP_CACHE_DIR": str(folder / "cache"), "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.audit", *options, str(file)],
        cwd=ROOT,
        env={**kept, **cache, **given},
        capture_output=True,
        text=True,
        timeout=50,
    )
    return done.returncode, done.stdout, done.stderr


def test_what_is_known_of_a_locked_version_fails_and_is_told(tmp_path: Path) -> None:
    def answers(path: str) -> tuple[int, bytes]:
        return 200, FOUND if path == "/pypi/bad/2.0/json" else NONE

    with index(tmp_path, answers) as here:
        code, out, _ = audit(tmp_path, here)
    assert code == 1, out
    assert "bad 2.0: PYSEC-2026-1, CVE-2026-0001; cured in 2.1" in out
    assert "good" not in out


def test_nothing_known_passes_and_says_of_how_many(tmp_path: Path) -> None:
    def answers(path: str) -> tuple[int, bytes]:
        return (200, NONE) if "good" in path else (404, b"{}")

    with index(tmp_path, answers) as here:
        code, out, err = audit(tmp_path, here)
    assert (code, out) == (
        0,
        "no known vulnerability in 1 packages; it tells nothing of 1 others\n",
    ), err


def test_an_index_that_is_out_of_order_passes_and_says_that_nothing_was_audited(
    tmp_path: Path,
) -> None:
    with index(tmp_path, lambda _: (503, b"{}")) as here:
        code, out, err = audit(tmp_path, here)
    assert code == 0, err
    assert out.startswith("NOT AUDITED")


def test_an_index_that_knows_none_of_the_versions_is_no_proof(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = {"dependencies": [{"name": "good", "skip_reason": "not found"}]}
    assert tell(read(report)) == 0
    assert capsys.readouterr().out.startswith("NOT AUDITED")


def test_an_index_that_cannot_be_reached_passes_and_says_so(tmp_path: Path) -> None:
    [port] = free_ports(1)
    code, out, err = audit(tmp_path, {"HTTPS_PROXY": f"http://127.0.0.1:{port}"})
    assert code == 0, err
    assert out == "NOT AUDITED for known vulnerabilities: the package index cannot be reached\n"


def test_an_index_that_falls_silent_is_not_waited_for(tmp_path: Path) -> None:
    with index(tmp_path, lambda _: None) as here:
        code, out, _ = audit(tmp_path, here, "--seconds", "1.5")
    assert code == 0
    assert out.endswith("did not answer within 1.5 s\n")


def test_a_lock_that_cannot_be_read_is_no_silence_of_the_index(tmp_path: Path) -> None:
    [port] = free_ports(1)
    here = {"HTTPS_PROXY": f"http://127.0.0.1:{port}"}
    code, _, err = audit(tmp_path, here, lock="no===lock at all\n")
    assert code == 2
    assert "pip-audit does not work" in err
