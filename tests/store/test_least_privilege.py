"""The user of `store.acl`: what the service sends is allowed, all else is not."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from app.commands.doctor import diagnose
from app.store import keys
from app.store.fitness import check_fitness
from tests.least_privilege import PASSWORD, RULES, GuardedServer
from tests.opened_store import opened

ROOT = Path(__file__).parents[2]

# Words of ours that are names of commands and are not sent as such, with what they are.
NOT_SENT = {
    "ACL": "asked by the doctor, to whom a refusal is the good answer",
    "AUTH": "allowed to everybody",
    "MEMORY": "has its key behind a subcommand, should it be sent",
    "OBJECT": "the same",
    "READONLY": "an error of a replica",
    "XINFO": "has its key behind a subcommand, should it be sent",
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedServer]:
    folder = tmp_path_factory.mktemp("guarded")
    server = GuardedServer(folder, appendonly="yes", enable_debug_command="yes")
    yield server
    server.stop()


def rules_of(user: str) -> list[str]:
    [line] = [line for line in RULES.splitlines() if line.startswith(f"user {user} ")]
    return line.split()[2:]


def sent(known: set[str]) -> set[str]:
    """Names of commands in our sources: those in scripts, and every word that is one."""
    words = {
        name
        for script in (ROOT / "app/store/scripts").glob("*.lua")
        for name in re.findall(r"redis\.p?call\(\s*'(\w+)'", script.read_text())
    }
    for path in (*ROOT.glob("app/store/**/*.py"), *ROOT.glob("workers/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.add(node.value)
    words |= {"PING", "TIME"}  # of the api and of the doctor
    return words & known


def test_every_command_that_is_sent_is_allowed_and_no_other(guarded: GuardedServer) -> None:
    known = {name.decode().upper() for name in guarded.all_powerful.command_list()}
    allowed = {rule[1:].partition("|")[0].upper() for rule in rules_of("moments") if rule[0] == "+"}
    assert allowed == sent(known) - NOT_SENT.keys()


def test_every_key_has_its_pattern_and_there_is_no_other() -> None:
    table = re.findall(
        r"^    (\w+)(:\S+)? +(?:hash|zset|string|stream|list) ", keys.__doc__ or "", re.MULTILINE
    )
    assert len(table) > 30
    patterns = {f"~{name}{':*' if rest else ''}" for name, rest in table}
    assert {rule for rule in rules_of("moments") if rule[0] == "~"} == patterns


@pytest.mark.parametrize(
    "command",
    [
        *("FLUSHALL", "FLUSHDB", "KEYS *", "SHUTDOWN", "MONITOR", "SAVE", "DEBUG SLEEP 0"),
        *("CONFIG SET maxmemory 1", "CONFIG REWRITE", "ACL LIST", "ACL SETUSER moments +@all"),
        *("EVAL return 0", "SCRIPT FLUSH", "FUNCTION LIST", "CLIENT KILL ID 1", "CLIENT LIST"),
        *("SCAN 0", "RENAME meta workers", "MIGRATE h 1 k 0 1", "REPLICAOF h 1", "SUBSCRIBE a"),
        *("GET other", "SET other 1", "GET post", "DEL friendship:{1}:x", "PUBLISH a b"),
        *("CLUSTER RESET", "XGROUP DESTROY posts:{1} workers", "MODULE LIST", "SWAPDB 0 1"),
    ],
)
def test_whoever_has_its_password_can_do_no_more_than_the_service(
    guarded: GuardedServer, command: str
) -> None:
    port = guarded.server.port
    with redis.Redis(port=port, username="moments", password=PASSWORD) as client:
        assert client.ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command.split(), *(["0"] if command[:5] == "EVAL " else []))


@pytest.mark.parametrize("command", ["INFO", "GET meta", "ACL WHOAMI", "CONFIG GET *"])
def test_whoever_has_no_password_can_say_ping_and_nothing_else(
    guarded: GuardedServer, command: str
) -> None:
    with redis.Redis(port=guarded.server.port) as client:
        assert client.ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command.split())


async def test_it_sees_whether_the_server_is_fit(guarded: GuardedServer) -> None:
    guarded.refused()  # by other tests
    async with opened(guarded.url, password=PASSWORD) as store:
        assert await check_fitness(store, "memory") == []
        guarded.all_powerful.config_set("appendfsync", "always")
        assert await check_fitness(store, "fsync") == []
    assert guarded.refused() == []


async def test_the_doctor_is_content_with_it_and_not_with_a_server_open_to_all(
    guarded: GuardedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def give(url: str, password: str) -> None:
        monkeypatch.setenv("MOMENTS_REDIS_URL", url)
        monkeypatch.setenv("MOMENTS_REDIS_PASSWORD", password)

    async def access() -> list[str]:
        findings = await diagnose(tmp_path)
        return [one.text for one in findings if one.topic == "access" and one.level == "warning"]

    give(guarded.url, PASSWORD)
    assert await access() == []
    guarded.all_powerful.execute_command("ACL", "SETUSER", "default", "+@all", "~*")
    try:
        give(f"redis://{guarded.server.address}", "")
        [text] = await access()
        assert "anybody who can reach" in text
        assert "docs/store.md" in text
    finally:
        guarded.all_powerful.execute_command(
            "ACL", "SETUSER", "default", "-@all", "+ping", "resetkeys"
        )
