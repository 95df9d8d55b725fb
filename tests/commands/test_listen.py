"""`moments listen`: what its options come to, what it shows, and that it behaves as told."""

import json
import signal
import socket
import subprocess
import sys

import pytest

from app.commands.listen import line, plan, summary
from app.commands.probe import free_ports
from app.domain.signature import Verdict
from app.errors import UsageMistake
from app.receiver import Plan, Received, Tally
from app.receiver.catalogue import behaviours
from tests.wait import block_until

REQUEST = b"POST /hook HTTP/1.1\r\nhost: x\r\nwebhook-id: d-1\r\ncontent-length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((None, None, 0.0, None, None), Plan()),
        ((None, 500, 0.0, None, None), Plan(fail=1.0, status=500)),
        ((0.2, None, 1.0, "/x", None), Plan(fail=0.2, delay_s=1.0, path="/x")),
        ((None, None, 0.0, None, "drip"), Plan(fail=1.0, behaviours=behaviours("drip"))),
        ((0.5, None, 0.0, None, "ok,hang"), Plan(fail=0.5, behaviours=behaviours("ok,hang"))),
    ],
)
def test_options_come_to_a_plan(options, expected):
    assert plan(*options) == expected


def test_a_status_and_behaviours_do_not_go_together_and_names_are_checked():
    with pytest.raises(UsageMistake, match="write --behave status=CODE"):
        plan(None, 500, 0.0, None, "drip")
    with pytest.raises(UsageMistake, match="--behave: there is no 'nonsense'"):
        plan(None, None, 0.0, None, "nonsense")


def received(**fields):
    headers = {"webhook-id": "d-1", "moments-attempt": "2"}
    shown = {"status": 200, "verdict": Verdict.VALID, "behaviour": "", **fields}
    return Received(0, "POST", "/hook", headers, b"{}", duplicate=False, connection=1, **shown)


def test_a_line_tells_the_status_or_the_behaviour():
    assert " ✓ 200 POST /hook" in line(received()).plain
    assert " ✓ hang POST /hook" in line(received(status=0, behaviour="hang")).plain


def test_the_summary_counts_what_was_not_answered_apart():
    tally = Tally()
    tally.note(received())
    tally.note(received(status=0, behaviour="hang"))
    assert summary(tally).endswith("1 not answered in whole, 1 answered 200")


def test_it_misbehaves_as_told_and_shows_how():
    (port,) = free_ports("127.0.0.1", 1)
    behave = ["--behave", "close-unanswered,two-responses", "--seed", "7", "--json"]
    command = [sys.executable, "-m", "app.cli", "listen", "--port", str(port), *behave]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        answers = [block_until(lambda: ask(port), 10) for _ in range(6)]
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 0
    shown = [json.loads(shown)["behaviour"] for shown in out.splitlines()]
    seen = ["close-unanswered" if one == b"closed" else "two-responses" for one in answers]
    assert shown == seen
    assert set(seen) == {"close-unanswered", "two-responses"}
    assert b"not answered in whole" in err


def ask(port: int) -> bytes | None:
    """What comes for one request; None while nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(REQUEST)
            return sock.recv(65_536) or b"closed"
    except ConnectionRefusedError:
        return None
