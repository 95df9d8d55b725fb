"""Secrets are planted in every place that has one, and looked for in all that the service says."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.cli import main
from app.commands.children import command
from app.commands.environment import environment_of
from app.commands.probe import answers, free_ports
from app.receiver.answer import response
from app.receiver.behaviour import Behaviour, Turn
from tests.least_privilege import PASSWORD, GuardedServer
from tests.receivers import Receiver
from tests.wait import wait_until

HOST = "127.0.0.1"
ADMIN_KEY = "mk_planted-admin-key-0a1b2c3d"
TOKEN_SECRET = "planted token secret / with + signs & 40 characters"
SECRET_KEY = base64.b64encode(b"planted-secret-key-of-32-bytes!!").decode()
ENDPOINT_SECRET = "whsec_" + base64.b64encode(b"planted endpoint secret, 24+").decode()
HEADER = "Basic planted:header/value+8c1d"
BODY = "planted-post-body-77ab"
GIVEN = {
    "admin key": ADMIN_KEY,
    "token secret": TOKEN_SECRET,
    "secret key": SECRET_KEY,
    "store password": PASSWORD,
    "endpoint secret": ENDPOINT_SECRET,
    "header": HEADER.partition(" ")[2],
    "post body": BODY,
}


def forms(secret: str) -> Iterator[str]:
    """As it is, in URLs, in JSON, in reversed case of hex, and in base64 wherever it begins."""
    raw = secret.encode()
    yield from (secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1])
    yield raw.hex()
    for before in range(3):
        padded = base64.b64encode(b"\0" * before + raw).decode()
        yield padded[(0, 2, 3)[before] : len(padded) - 4]


def shown(text: str, planted: Mapping[str, str]) -> set[str]:
    return {name for name, secret in planted.items() if any(one in text for one in forms(secret))}


def test_a_planted_secret_would_be_found() -> None:
    for name, secret in GIVEN.items():
        for before in ("", "a", "ab", "abc"):
            hidden = base64.b64encode(f"{before}{secret}, and more".encode()).decode()
            assert shown(f"x{hidden}", GIVEN) >= {name}
        assert shown(urlencode({"a": secret}), GIVEN) >= {name}


async def _echo(turn: Turn) -> None:
    """What a debug page does: all headers of the request, in the body of a 500."""
    received = turn.received
    assert received is not None
    # The one that is planted comes first: the excerpt has a bound.
    body = json.dumps({"got": received.headers["x-planted"], "all": dict(received.headers)})
    await turn.write(response(500, body=body.encode()))


@dataclass
class Run:
    """The service as processes. `planted` are secrets by what they are, `said` all answers that
    are not meant to hold one."""

    api: httpx.AsyncClient
    ports: Mapping[str, int]
    environment: Mapping[str, str]
    store: GuardedServer
    planted: dict[str, str] = field(default_factory=lambda: dict(GIVEN))
    said: list[str] = field(default_factory=list)

    async def made(self, method: str, path: str, body: object = None) -> Any:
        """An answer that may hold secrets: it gives one to its owner."""
        answer = await self.api.request(method, f"/v1{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def asks(self, method: str, url: str, **more: Any) -> int:
        answer = await self.api.request(method, url, **more)
        self.said.append(f"{answer.headers}\n{answer.text}")
        return answer.status_code

    async def handshakes(self, query: Mapping[str, str], path: str = "/v1/socket") -> None:
        url = f"ws://{HOST}:{self.ports['gateway']}{path}?{urlencode(query)}"
        try:
            async with (
                asyncio.timeout(0.7),
                connect(url, proxy=None, compression=None) as socket,
            ):
                await socket.send('{"type": "' + ENDPOINT_SECRET + '"}')
                async for frame in socket:
                    if not json.loads(frame)["type"].startswith("post."):  # which is for its owner
                        self.said.append(str(frame))
                self.said.append(f"closed: {socket.close_code} {socket.close_reason}")
        except InvalidStatus as error:
            self.said.append(f"{error.response.headers}{error.response.body!r}")
        except (ConnectionClosed, TimeoutError) as error:
            self.said.append(str(error))

    async def doctor(self, *options: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *command("doctor", *options),
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        assert b"schema" in out, out
        self.said.append(out.decode())


@contextlib.asynccontextmanager
async def running(folder: Path, log_format: str, log: Path) -> AsyncIterator[Run]:
    """`moments up` without a worker and a worker with a port, all lines in one file."""
    store = GuardedServer(folder / "store", appendonly="yes")
    password = folder / "password"
    password.write_text(PASSWORD + "\n")
    ports = dict(zip(("api", "gateway", "worker"), free_ports(HOST, 3), strict=True))
    environment = environment_of(
        {
            "redis_url": store.url,
            "redis_password_file": str(password),
            "admin_key": ADMIN_KEY,
            "token_secret": TOKEN_SECRET,
            "secret_key": SECRET_KEY,
            "log_level": "debug",
            "log_format": log_format,
            "port": str(ports["api"]),
            "gateway_port": str(ports["gateway"]),
            "ops_port": str(ports["worker"]),
            "allow_cidrs": "127.0.0.0/8",
            "retry_schedule_s": "0.05",
            "drain_timeout_s": "1",
            "goodbye_spread_s": "0",
        }
    )
    processes: list[asyncio.subprocess.Process] = []
    try:
        with log.open("wb") as out:
            for words in (("up", "--workers", "0", "--data", str(folder / "data")), ("worker",)):
                process = await asyncio.create_subprocess_exec(
                    *command(*words),
                    env=environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                )
                processes += [process]
        for port in ports.values():
            await wait_until(lambda port=port: answers(HOST, port, "/readyz"), 20)
        headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        base = f"http://{HOST}:{ports['api']}"
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=15) as api:
            yield Run(api, ports, environment, store)
    finally:
        for process in processes:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
        with contextlib.suppress(ProcessLookupError):
            store.stop()


async def good_calls(run: Run, receiver: Receiver) -> str:
    """Makes all there is; returns the endpoint."""
    run.planted["API key"] = (await run.made("POST", "/keys", {"name": "k", "scopes": ["read"]}))[
        "key"
    ]
    run.planted["user token"] = (await run.made("POST", "/users/bob/tokens", {}))["token"]
    await run.made("PUT", "/users/alice/friends/bob")
    made = {"user": "bob", "url": receiver.url, "secret": ENDPOINT_SECRET}
    endpoint = await run.made("POST", "/endpoints", {**made, "headers": {"x-planted": HEADER}})
    post = await run.made("POST", "/posts", {"author": "alice", "data": {"text": BODY}})

    async def is_dead() -> bool:
        items = (await run.made("GET", f"/posts/{post['id']}/deliveries?channel=webhook"))["items"]
        return bool(items) and items[0]["state"] == "dead"

    await wait_until(is_dead, 10)
    assert receiver.requests[0].headers["x-planted"] == HEADER
    reader = {"authorization": f"Bearer {run.planted['API key']}"}
    for path in (f"/posts/{post['id']}/deliveries", "/dead-letters", "/keys"):
        await run.asks("GET", f"/v1{path}")
    for path in ("", "/attempts"):
        # Who may only read is shown no value of a header; those with scope admin are.
        code = await run.asks("GET", f"/v1/endpoints/{endpoint['id']}{path}", headers=reader)
        assert code == 200
    assert await run.asks("POST", f"/v1/endpoints/{endpoint['id']}:ping") == 200
    assert "***" in run.said[-1]
    return str(endpoint["id"])


async def bad_calls(run: Run, endpoint: str) -> None:
    token = run.planted["user token"]
    broken = [
        '{"author": "alice", "data": {"text": "' + BODY,
        json.dumps({"author": 5, "data": {"text": BODY}}),
        json.dumps({"author": "alice", "data": BODY, "only": BODY}),
    ]
    for content in broken:
        headers = {"content-type": "application/json"}
        assert await run.asks("POST", "/v1/posts", content=content, headers=headers) in (400, 422)
    changes = [
        {"secret": ENDPOINT_SECRET + "!"},
        {"headers": {"x-planted": HEADER + "\n"}},
        {"headers": {"host": HEADER}},
        {"url": f"http://u:{HEADER.partition(':')[2]}@127.0.0.1/"},
        {"secret": [ENDPOINT_SECRET]},
    ]
    for change in changes:
        made = {"user": "eve", "url": "http://127.0.0.1:9/", **change}
        assert await run.asks("POST", "/v1/endpoints", json=made) in (400, 422), change
    await run.asks("PATCH", f"/v1/endpoints/{endpoint}", json={"headers": HEADER})
    for bearer in (ADMIN_KEY + "x", token + "x", token[:-4], TOKEN_SECRET.replace(" ", "")):
        headers = {"authorization": f"Bearer {bearer}"}
        assert await run.asks("GET", "/v1/users/bob/feed", headers=headers) == 401
    # Not one of the user's, with a good token.
    headers = {"authorization": f"Bearer {token}"}
    assert await run.asks("GET", "/v1/users/eve/feed", headers=headers) in (403, 404)
    for path in ("/v1/nowhere", "/v1/posts", "/v1/users/bob/feed", "/v1/posts/none"):
        await run.asks("GET", path, params={"token": token, "key": ADMIN_KEY})
    queries = ({"token": token}, {"token": token + "x"}, {"token": token, "after": "x"})
    await asyncio.gather(
        *(run.handshakes(query, path) for query in queries for path in ("/v1/socket", "/nowhere"))
    )


async def operations(run: Run) -> None:
    for port in run.ports.values():
        for path in ("/metrics", "/healthz", "/readyz", "/nowhere?token=" + ADMIN_KEY):
            await run.asks("GET", f"http://{HOST}:{port}{path}")
    assert await run.asks("GET", "/v1/stats") == 200
    await run.asks("GET", "/openapi.json")
    await run.asks("GET", "/asyncapi.json")
    await asyncio.gather(run.doctor(), run.doctor("--json"))


@pytest.mark.parametrize("log_format", ["json", "text"])
async def test_no_answer_metric_or_line_shows_one(tmp_path: Path, log_format: str) -> None:
    log = tmp_path / "log"
    async with (
        Receiver(default=Behaviour(_echo, "echo", 500)) as receiver,
        running(tmp_path, log_format, log) as run,
    ):
        endpoint = await good_calls(run, receiver)
        await bad_calls(run, endpoint)
        await operations(run)
        assert run.store.refused() == []
        run.store.server.process.kill()
        body = {"author": "alice", "data": {"text": BODY}}
        assert await run.asks("POST", "/v1/posts", json=body) == 503
        await run.handshakes({"token": run.planted["user token"]})
    lines = log.read_text()
    assert "store unavailable" in lines or "unavailable" in lines
    assert "attempt" in lines
    assert shown(lines, run.planted) == set()
    for text in run.said:
        assert shown(text, run.planted) == set(), text


# What runs in a process of each kind once it knows its settings dies in place of its work.
_DIES = """
import sys
import {module} as module
async def die(*_, **__):
    raise RuntimeError("it died of " + {secrets!r})
module.{name} = die
from app.cli import main
sys.argv = ["moments", *{words!r}]
main()
"""


@pytest.mark.parametrize(
    ("words", "module", "name"),
    [
        (("api",), "app.commands.api", "run_api"),
        (("gateway",), "app.commands.gateway", "run_gateway"),
        (("worker",), "app.commands.worker", "make_sealer"),
        (("doctor",), "app.commands.doctor", "look_at_store"),
        (("up",), "app.commands.up", "claim_ports"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
async def test_a_process_that_dies_shows_none_in_its_trace(
    tmp_path: Path, single_store_url: str, words: tuple[str, ...], module: str, name: str
) -> None:
    planted = {**GIVEN, "store password": "planted-store/password"}
    for one in ("header", "post body"):  # nobody can know them for secrets in a text
        del planted[one]
    code = _DIES.format(module=module, name=name, words=words, secrets=" ".join(planted.values()))
    if name in ("make_sealer", "claim_ports"):
        code = code.replace("async def die", "def die")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code),
        cwd=tmp_path,
        env={
            **environment_of(
                {
                    "redis_url": single_store_url,
                    "redis_password": planted["store password"],
                    "admin_key": ADMIN_KEY,
                    "token_secret": TOKEN_SECRET,
                    "secret_key": SECRET_KEY,
                    "port": "0",
                }
            ),
            "PYTHONPATH": os.getcwd(),
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode not in (0, None)
    assert b"Traceback" in out, out
    assert b"RuntimeError: it died of mk_***" in out, out
    assert shown(out.decode(), planted) == set()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("admin_key", "planted-admin-key-without-prefix"),
        ("token_keys", '{"a": "planted-secret"}'),
        ("retry_schedule_s", "5," + ADMIN_KEY),
        ("allow_cidrs", ENDPOINT_SECRET),
        ("port", ADMIN_KEY),
        ("redis_url", "redis://moments:planted-secret@h:port"),
        ("redis_url", "nonsense://moments:planted-secret@h"),
    ],
)
def test_a_setting_that_is_wrong_is_named_and_its_secret_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    name: str,
    value: str,
) -> None:
    for hook in ("excepthook", "unraisablehook"):
        monkeypatch.setattr(sys, hook, getattr(sys, hook))
    monkeypatch.setattr("threading.excepthook", sys.modules["threading"].excepthook)
    monkeypatch.setenv("MOMENTS_SECRET_KEY", SECRET_KEY)
    monkeypatch.setenv(f"MOMENTS_{name.upper()}", value)
    rotate = ["moments", "secret-key", "rotate", "--data", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", rotate)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code
    printed = capsys.readouterr()
    assert printed.err.startswith("moments: ")
    assert "planted" not in printed.err + printed.out
    assert shown(printed.err + printed.out, GIVEN) == set()
