"""The cases of the Autobahn test suite, against the echo that the suite itself is run against; and
that the page which tells what it found tells the same as these."""

import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side

from scripts.autobahn.__main__ import BEGIN, END
from scripts.autobahn.echo import EchoServer
from tests.gateway.autobahn_cases import CASES, Case
from tests.gateway.test_handshake import request

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security-sockets.md"
PATIENCE_S = 10.0
STRICT_S = 0.2  # in which a server has to see that what came so far cannot become right


class Peer:
    """Like the suite, reads each frame as it comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = Protocol(Side.CLIENT, max_size=None)

    async def write(self, parts: tuple[bytes, ...]) -> None:
        for part in parts:
            if self._writer.transport.is_closing():  # the server has, before the end of it
                return
            self._writer.write(part)
            await asyncio.sleep(0)

    async def frames(self) -> list[Frame]:
        """All until the server has closed the connection, and how."""
        found: list[Frame] = []
        try:
            while data := await self._reader.read(1 << 20):
                self._protocol.receive_data(data)
                found += [one for one in self._protocol.events_received() if isinstance(one, Frame)]
        except ConnectionError:
            pass  # with what was sent to it unread; the frames before that count
        assert self._protocol.parser_exc is None
        return found


async def behaviour(port: int, case: Case) -> str:
    """In the words of the suite."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        peer, is_strict = Peer(reader, writer), True
        try:
            await peer.write((request("/").encode(),))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            reading = asyncio.ensure_future(peer.frames())
            await peer.write(case.parts)
            if case.late and not (await asyncio.wait({reading}, timeout=STRICT_S))[0]:
                is_strict = False
                await peer.write(case.late)
            frames = await reading
        finally:
            writer.transport.abort()
    *said, end = frames
    answers = tuple((frame.opcode, bytes(frame.data)) for frame in said)
    is_right = answers == case.answers and end.opcode is Opcode.CLOSE
    if not is_right or Close.parse(bytes(end.data)).code != case.code:
        return "FAILED"
    if case.is_informational:
        return "INFORMATIONAL"
    return "OK" if is_strict else "NON-STRICT"


def told() -> dict[str, str]:
    """What the page says of each case."""
    row = r"^\| (\d[\d., to]*) \| [^|]* \| (\d+) \| ([A-Z-]+) \|$"
    found: dict[str, str] = {}
    for cases, count, verdict in re.findall(row, PAGE.read_text(), re.MULTILINE):
        ids = list(_expand(cases))
        assert len(ids) == int(count), cases
        found |= dict.fromkeys(ids, verdict)
    return found


def _expand(cases: str) -> Iterator[str]:
    """`1.1.1 to 1.1.3, 2.4` are four."""
    for part in cases.split(", "):
        first, _, last = part.partition(" to ")
        head, _, number = first.rpartition(".")
        for n in range(int(number), int((last or first).rpartition(".")[2]) + 1):
            yield f"{head}.{n}"


SECTIONS = sorted({case.split(".")[0] for case in CASES}, key=int)


@pytest.mark.parametrize("section", SECTIONS)
async def test_an_echo_behaves_as_the_page_says(section: str):
    ids = [case for case in CASES if case.split(".")[0] == section]
    async with EchoServer().serving() as port:
        # At once: some wait.
        found = await asyncio.gather(*(behaviour(port, CASES[case]) for case in ids))
    expected = told()
    assert dict(zip(ids, found, strict=True)) == {case: expected[case] for case in ids}


def test_the_page_tells_of_every_case_and_none_has_failed():
    counts = Counter(told().values())
    assert set(counts) == {"OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"}
    assert sum(counts.values()) == 517
    assert counts["UNIMPLEMENTED"] == 216  # sections 12 and 13: compression
    assert set(CASES) <= set(told())
    assert len(CASES) > 240


def test_a_run_of_the_suite_is_read_from_its_report(tmp_path: Path):
    suite, page = tmp_path / "suite", tmp_path / "page.md"
    verdicts = {f"1.1.{n}": ("OK", "OK") for n in (1, 2, 10)} | {
        "1.1.3": ("NON-STRICT", "OK"),
        "7.1.1": ("FAILED", "OK"),
        "7.1.2": ("OK", "WRONG CODE"),
    }
    index = {case: {"behavior": a, "behaviorClose": b} for case, (a, b) in verdicts.items()}
    suite.write_text(f"#!/bin/sh\necho '{json.dumps({'echo': index})}' > $2/index.json\nexit 1\n")
    suite.chmod(0o700)
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    command = [sys.executable, "-m", "scripts.autobahn", str(suite), "--write", str(page)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 1  # for a case has failed
    assert "2 FAILED" not in ran.stdout
    assert "1 FAILED, 1 WRONG CODE" in ran.stdout
    assert "| 1.1.1 to 1.1.2, 1.1.10 |" in page.read_text()
    assert "| 7.1.2 |" in page.read_text()
    assert "old" not in page.read_text()
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")
