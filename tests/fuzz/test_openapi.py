"""schemathesis makes up calls from the description, good and bad, and looks at every answer.

The service is made of its real processes. What the calls are, and where a check is off and why:
openapi.toml and openapi_hooks.py beside this.
"""

import asyncio
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from app.api.app import ALL_CALLS
from app.api.schemas.access import TOKEN_TTL_MAX_S
from app.api.schemas.endpoints import DAY_S
from app.commands.api_client import ApiClient
from app.domain.ids import KEY_ID_LENGTH
from scripts.load.service import OwnService
from tests.fuzz.amount import SEED, TIMES
from tests.receivers import (
    Receiver,
    big_body,
    chunked_garbage,
    redirect,
    refusing_port,
    reset_in_body,
    status,
    two_responses,
)

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
# What the first webhooks meet.
SCRIPT = (
    *(status(500), reset_in_body(), chunked_garbage(), two_responses(), big_body(20_000)),
    *(redirect("http://127.0.0.1/"), status(503, retry_after="1"), status(410)),
)
SETTINGS = {
    # As often as it can.
    "user_rate_per_s": "0",
    "key_rate_per_s": "0",
    "author_rate_per_s": "0",
    "auth_failure_rate_per_s": "0",
    # All that the description allows.
    "token_ttl_max_s": str(TOKEN_TTL_MAX_S),
    "retention_s": str(32 * 7 * DAY_S),
    "endpoints_max": "200",
    # What is sent and fails is soon over.
    "retry_schedule_s": "0.1,0.1",
    "request_deadline_s": "1",
    "challenges_per_host_max": "1000000",
}
CALLED = len(ALL_CALLS) - 1  # all but the one that it reads the description with
PATIENCE_S = 120.0 + 30.0 * TIMES

pytestmark = pytest.mark.timeout(PATIENCE_S + 60)


@dataclass(frozen=True, slots=True)
class Run:
    """What schemathesis printed and reported, and how often the api answered with each status."""

    printed: str
    report: dict[str, Any]
    statuses: Mapping[int, int]


async def test_every_answer_is_as_described_and_only_what_is_described_is_taken(tmp_path: Path):
    run = await schemathesis(tmp_path, "examples,coverage,fuzzing", examples=5)
    every_operation_was_called_and_answered_as_asked(run.report)
    assert {200, 201, 202, 204, 400, 401, 404, 405, 409, 415, 422} <= set(run.statuses)


async def test_what_follows_from_an_answer_is_as_described_too(tmp_path: Path):
    run = await schemathesis(tmp_path, "stateful", examples=90)
    [followed] = re.findall(r"API Links: +(\d+) covered", run.printed)
    assert int(followed) >= 15


async def schemathesis(directory: Path, phases: str, examples: int) -> Run:
    """Runs it on a service of its own. Fails unless all went well, on both sides."""
    report = directory / "report.json"
    async with (
        OwnService(directory, SETTINGS, gateways=0) as service,
        Receiver(*SCRIPT) as receiver,
    ):
        await service.start("worker")
        unverified = await asyncio.to_thread(make_world, service, receiver)
        names = {
            "FUZZ_KEY": service.key,
            "FUZZ_OWN_KEY": hashlib.sha256(service.key.encode()).hexdigest()[:KEY_ID_LENGTH],
            "FUZZ_RECEIVER": receiver.url.rstrip("/"),
            "FUZZ_UNVERIFIED": unverified,
        }
        options = ("--phases", phases, "--max-examples", str(examples * TIMES))
        options += ("--report", "json", "--report-json-path", str(report))
        code, printed = await call_all(service.api, names, options)
        statuses = await asyncio.to_thread(answered, service)
        assert len(receiver.requests) > len(SCRIPT)
        assert service.incidents == []
    assert code == 0, printed
    told = json.loads(await asyncio.to_thread(report.read_text))
    assert (told["failures"], told["errors"]) == ([], [])
    for phase in phases.split(","):
        assert told["phases"][phase]["status"] == "success"
    assert max(statuses) < 500
    assert [line for line in log_lines(directory) if line["level"] in ("error", "critical")] == []
    return Run(printed, told, statuses)


async def call_all(api: str, names: Mapping[str, str], options: Sequence[str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", HERE / "openapi.toml"),
        *("run", f"{api}/openapi.json", "--seed", SEED, "--no-color", *options),
        cwd=ROOT,
        env={**os.environ, **names, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, printed.decode()


def make_world(service: OwnService, receiver: Receiver) -> str:
    """The users that openapi.toml names, one of everything, a dead letter, and an endpoint that is
    unverified and stays so: its id."""
    call = ApiClient(service.api, service.key).call
    for pair in ("ann/friends/bob", "bob/friends/cyd", "cyd/follows/ann"):
        call("PUT", f"/v1/users/{pair}")
    with refusing_port() as port:
        for user, url in (("bob", receiver.url), ("cyd", f"http://127.0.0.1:{port}")):
            call("POST", "/v1/endpoints", {"user": user, "url": url})
        call("POST", "/v1/posts", {"author": "ann", "data": {}})
        deadline = time.monotonic() + 10
        while not call("GET", "/v1/dead-letters")["items"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    key = call("POST", "/v1/keys", {"name": "x", "scopes": ["admin"], "verify_endpoints": True})
    call = ApiClient(service.api, key["key"]).call
    return call("POST", "/v1/endpoints", {"user": "ann", "url": receiver.url})["id"]


def every_operation_was_called_and_answered_as_asked(report: dict[str, Any]) -> None:
    assert report["operations"]["tested"] == CALLED
    accepted = {
        operation: sum(phase["accepted"] for phase in phases.values())
        for operation, phases in report["valid_rates"].items()
    }
    assert [operation for operation, count in accepted.items() if not count] == []
    assert len(accepted) == CALLED


def answered(service: OwnService) -> dict[int, int]:
    """How often the api has answered with each status."""
    with urlopen(f"{service.api}/metrics") as answer:
        found = re.findall(
            r'moments_api_requests_total\{status="(\d+)"\} (\d+)', answer.read().decode()
        )
    return {int(status): int(count) for status, count in found}


def log_lines(directory: Path) -> Iterator[dict[str, Any]]:
    for file in directory.glob("*.log"):
        yield from map(json.loads, file.read_text().splitlines())
