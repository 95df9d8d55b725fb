"""Each thing that can be wrong, made wrong on a real store, is found with what to change."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.clock import now_ms
from app.commands.data_dir import (
    ADMIN_KEY,
    SECRET_KEY,
    TOKEN_SECRET,
    DataDir,
    new_admin_key,
    new_secret_key,
    new_token_secret,
)
from app.commands.doctor import diagnose, doctor
from app.commands.finding import Finding, Level
from app.errors import CommandFailed, ServerNotStarted
from app.store import fitness, keys
from app.store.apikeys import ApiKeys, Scope
from app.store.client import Store
from app.store.embedded import EmbeddedServer
from app.store.schema import open_schema
from tests.store_servers import TcpServer, free_ports
from tests.wait import block_until

Set = Callable[..., None]

FOUND_OK = ("settings", "secret key", "token secret", "file limit", "store", "clock", "schema")


@pytest.fixture(autouse=True)
def given(monkeypatch: pytest.MonkeyPatch) -> Set:
    """Sets settings in an environment that has no others; None takes one away."""
    for name in os.environ:
        if name.startswith("MOMENTS_"):
            monkeypatch.delenv(name)

    def give(**settings: object) -> None:
        for name, value in settings.items():
            if value is None:
                monkeypatch.delenv(f"MOMENTS_{name.upper()}")
            else:
                monkeypatch.setenv(f"MOMENTS_{name.upper()}", str(value))

    return give


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TcpServer]:
    """A server that a test may set up badly."""
    server = TcpServer(tmp_path / "server", *free_ports(1), appendonly="yes")
    block_until(server.answers)
    yield server
    server.stop()


def give_all(given: Set, url: str) -> None:
    """What a role needs to start."""
    given(
        redis_url=url,
        admin_key=new_admin_key(),
        token_secret=new_token_secret(),
        secret_key=new_secret_key(),
    )


def amiss(findings: list[Finding]) -> list[tuple[str, str]]:
    """Topic and level of what is not as it should be."""
    return [(one.topic, one.level.value) for one in findings if one.level is not Level.OK]


def text_of(findings: list[Finding], topic: str) -> str:
    [text] = [one.text for one in findings if one.topic == topic and one.level is not Level.OK]
    return text


async def test_a_service_that_is_set_up_well_has_nothing_to_change(
    store: Store, store_url: str, given: Set, tmp_path: Path
) -> None:
    give_all(given, store_url)
    # That the cluster of the tests lets anybody in is another test's matter.
    findings = [one for one in await diagnose(tmp_path) if one.topic != "access"]
    assert amiss(findings) == []
    assert [one.topic for one in findings] == [*FOUND_OK, "admin key"]
    assert "Valkey" in next(one.text for one in findings if one.topic == "store")


async def test_a_server_on_the_network_that_is_open_to_all_is_warned_of(
    server: TcpServer, single_store_url: str, given: Set, tmp_path: Path
) -> None:
    give_all(given, f"redis://{server.address}")
    findings = await diagnose(tmp_path)
    assert amiss(findings) == [("access", "warning")]
    assert "docs/store.md" in text_of(findings, "access")
    give_all(given, single_store_url)  # whose socket is its owner's alone
    assert amiss(await diagnose(tmp_path)) == []


async def test_names_of_files_with_secrets_are_settings_and_of_others_are_not(
    given: Set, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(new_secret_key())
    given(secret_key_file=tmp_path / "key", port_file=tmp_path / "key")
    findings = await diagnose(tmp_path)
    assert text_of(findings, "settings").startswith("MOMENTS_PORT_FILE is no setting")
    assert "set: MOMENTS_SECRET_KEY;" in "".join(one.text for one in findings)


async def test_looking_at_a_new_store_does_not_decide_its_number_of_shards(
    store: Store, store_url: str, given: Set, tmp_path: Path
) -> None:
    give_all(given, store_url)
    await diagnose(tmp_path)
    assert (await open_schema(store, 3)).shards == 3


async def test_a_setting_that_cannot_be_read_is_named_without_its_value(
    given: Set, tmp_path: Path
) -> None:
    given(shards="0", admin_key="hush")
    findings = await diagnose(tmp_path)
    assert amiss(findings) == [("settings", "fault")]
    text = text_of(findings, "settings")
    assert "MOMENTS_SHARDS" in text
    assert "MOMENTS_ADMIN_KEY" in text
    assert "hush" not in text


async def test_a_misspelt_variable_is_told_with_what_was_meant(
    single_store: Store, single_store_url: str, given: Set, tmp_path: Path
) -> None:
    give_all(given, single_store_url)
    given(redis_uri="x", zzzz="x", parent_pipe="1")
    findings = await diagnose(tmp_path)
    assert amiss(findings) == [("settings", "warning"), ("settings", "warning")]
    assert findings[0].text == "MOMENTS_REDIS_URI is no setting: is MOMENTS_REDIS_URL meant?"
    assert findings[1].text == "MOMENTS_ZZZZ is no setting, and changes nothing"


async def test_secrets_that_no_role_starts_without_are_asked_for(
    single_store: Store, single_store_url: str, given: Set, tmp_path: Path
) -> None:
    given(redis_url=single_store_url)
    findings = await diagnose(tmp_path)
    assert amiss(findings) == [
        ("secret key", "fault"),
        ("token secret", "fault"),
        ("admin key", "fault"),
    ]
    assert "openssl rand -base64 32" in text_of(findings, "secret key")
    assert "MOMENTS_TOKEN_PUBLIC_KEY" in text_of(findings, "token secret")
    given(token_keys='{"one": "a secret of more than 32 characters"}')
    assert amiss(await diagnose(tmp_path)) == [("secret key", "fault"), ("admin key", "fault")]
    assert "MOMENTS_ADMIN_KEY is not set" in text_of(findings, "admin key")


async def test_older_secret_keys_are_remembered_and_have_to_be_keys(
    single_store: Store, single_store_url: str, given: Set, tmp_path: Path
) -> None:
    give_all(given, single_store_url)
    given(secret_keys_old=f"{new_secret_key()},{new_secret_key()}")
    findings = await diagnose(tmp_path)
    assert ("secret key", "warning") in amiss(findings)
    assert "moments secret-key rotate" in text_of(findings, "secret key")
    given(secret_keys_old="c2hvcnQ=")
    findings = await diagnose(tmp_path)
    assert ("secret key", "fault") in amiss(findings)
    assert "c2hvcnQ" not in text_of(findings, "secret key")


async def test_keys_that_cannot_be_used_are_told_and_not_shown(
    single_store: Store, single_store_url: str, given: Set, tmp_path: Path
) -> None:
    give_all(given, single_store_url)
    given(secret_key="c2hvcnQ=", token_public_key="no key at all")
    findings = await diagnose(tmp_path)
    assert amiss(findings) == [("secret key", "fault"), ("token secret", "fault")]
    assert "32 bytes" in text_of(findings, "secret key")
    assert "c2hvcnQ" not in text_of(findings, "secret key")
    told = text_of(findings, "token secret")
    assert told == "MOMENTS_TOKEN_PUBLIC_KEY: this is not a PEM public key"
    pem = "-----BEGIN PUBLIC KEY-----\\nAAAA\\n-----END PUBLIC KEY-----"
    given(token_public_key=None, token_keys=f'{{"mine": "{pem}"}}')
    told = text_of(await diagnose(tmp_path), "token secret")
    assert told == "MOMENTS_TOKEN_KEYS: mine: this is not a PEM public key"


@pytest.mark.parametrize("bad", ["a-key-of-any-form", "mk_too-short", "MK_" + "x" * 40])
async def test_an_admin_key_that_nobody_could_be_let_in_with_is_told_and_not_shown(
    given: Set, tmp_path: Path, bad: str
) -> None:
    given(admin_key=bad)
    text = text_of(await diagnose(tmp_path), "settings")
    assert text.startswith("MOMENTS_ADMIN_KEY: an API key begins with mk_")
    assert 'echo "mk_$(openssl rand -hex 32)"' in text
    assert bad not in text


async def test_an_admin_key_in_the_store_is_enough(
    single_store: Store, single_store_url: str, given: Set, tmp_path: Path
) -> None:
    give_all(given, single_store_url)
    given(admin_key=None)
    kept = ApiKeys(single_store, api_keys_max=10)
    await kept.set_bootstrap(new_admin_key(), now_ms())  # ends with the next start
    await kept.create("reader", frozenset({Scope.READ}), now_ms())
    assert amiss(await diagnose(tmp_path)) == [("admin key", "fault")]
    await kept.create("admin", frozenset({Scope.ADMIN}), now_ms())
    assert amiss(await diagnose(tmp_path)) == []


async def test_an_admin_key_that_was_revoked_by_call_is_told_and_not_shown(
    single_store: Store, single_store_url: str, given: Set, tmp_path: Path
) -> None:
    give_all(given, single_store_url)
    kept = ApiKeys(single_store, api_keys_max=10)
    key = await kept.set_bootstrap(os.environ["MOMENTS_ADMIN_KEY"], now_ms())
    assert amiss(await diagnose(tmp_path)) == []
    assert key is not None
    await kept.revoke(key.id)
    findings = await diagnose(tmp_path)
    assert amiss(findings) == [("admin key", "fault")]
    text = text_of(findings, "admin key")
    assert "MOMENTS_ADMIN_KEY was revoked by call: set another" in text
    assert os.environ["MOMENTS_ADMIN_KEY"] not in text


async def test_a_store_that_cannot_be_reached_is_told_without_its_password(
    given: Set, tmp_path: Path
) -> None:
    [port] = free_ports(1)
    give_all(given, f"redis://:hush@127.0.0.1:{port}")
    findings = await diagnose(tmp_path)
    assert amiss(findings) == [("store", "fault")]
    text = text_of(findings, "store")
    assert f"127.0.0.1:{port}" in text
    assert "correct MOMENTS_REDIS_URL" in text
    assert "hush" not in text


async def test_a_store_that_refuses_the_login_is_told(
    server: TcpServer, given: Set, tmp_path: Path
) -> None:
    server.admin.config_set("requirepass", "p")
    give_all(given, f"redis://{server.address}")
    assert "NOAUTH" in text_of(await diagnose(tmp_path), "store")


async def test_a_url_that_is_none_of_a_store_is_told(given: Set, tmp_path: Path) -> None:
    give_all(given, "http://127.0.0.1")
    text = text_of(await diagnose(tmp_path), "store")
    assert text.startswith("MOMENTS_REDIS_URL: this is no URL of a store")


async def test_all_that_is_wrong_with_a_server_is_told_at_once(
    server: TcpServer, given: Set, tmp_path: Path
) -> None:
    server.admin.config_set("maxmemory-policy", "allkeys-lru")
    server.admin.config_set("appendonly", "no")
    give_all(given, f"redis://{server.address}")
    given(ack="fsync")
    findings = await diagnose(tmp_path)
    assert amiss(findings) == [
        ("eviction", "fault"),
        ("persistence", "warning"),
        ("ack", "fault"),
        ("access", "warning"),
    ]
    assert "CONFIG SET maxmemory-policy noeviction" in text_of(findings, "eviction")
    assert "CONFIG SET appendonly yes" in text_of(findings, "persistence")


async def test_waiting_for_replicas_that_do_not_exist_is_told(
    single_store: Store, single_store_url: str, given: Set, tmp_path: Path
) -> None:
    give_all(given, single_store_url)
    given(ack="replica")
    assert amiss(await diagnose(tmp_path)) == [("ack", "warning")]


@pytest.mark.parametrize(
    ("ahead_s", "level", "told"),
    [
        (3, "warning", "ahead of the store's"),
        (-3, "warning", "behind the store's"),
        (90, "fault", "ahead of the store's"),
        (-90, "fault", "behind the store's"),
    ],
)
async def test_a_clock_that_is_off_is_told_with_how_far(
    single_store: Store,
    single_store_url: str,
    given: Set,
    tmp_path: Path,
    ahead_s: int,
    level: str,
    told: str,
) -> None:
    give_all(given, single_store_url)
    findings = await diagnose(tmp_path, lambda: now_ms() + ahead_s * 1000)
    assert amiss(findings) == [("clock", level)]
    assert told in text_of(findings, "clock")


async def test_another_number_of_shards_is_told_with_both(
    single_store: Store, single_store_url: str, given: Set, tmp_path: Path
) -> None:
    await open_schema(single_store, 4)
    give_all(given, single_store_url)
    given(shards=16)
    findings = await diagnose(tmp_path)
    assert amiss(findings) == [("schema", "fault")]
    assert "set MOMENTS_SHARDS=4" in text_of(findings, "schema")
    given(shards=4)
    assert amiss(await diagnose(tmp_path)) == []


async def test_the_store_of_a_newer_release_is_told(
    single_store: Store, single_store_url: str, given: Set, tmp_path: Path
) -> None:
    await open_schema(single_store, None)
    await single_store.execute("HSET", keys.META, "schema", 99)
    give_all(given, single_store_url)
    findings = await diagnose(tmp_path)
    assert amiss(findings) == [("schema", "fault")]
    assert "schema 99" in text_of(findings, "schema")


async def test_too_few_files_for_the_sockets_are_told_with_a_number_that_fits(
    single_store: Store, single_store_url: str, given: Set, tmp_path: Path
) -> None:
    give_all(given, single_store_url)
    given(sockets_max=10**9)
    findings = await diagnose(tmp_path)
    assert amiss(findings) == [("file limit", "fault")]
    fitting = text_of(findings, "file limit").rpartition(" ")[2]
    given(sockets_max=fitting)
    assert amiss(await diagnose(tmp_path)) == []


def test_a_limit_of_the_system_is_told_before_the_sockets_run_into_it(
    single_store_url: str, given: Set, tmp_path: Path
) -> None:
    give_all(given, single_store_url)
    command = [sys.executable, "-m", "app.cli", "doctor", "--json", "--data", str(tmp_path)]
    limited = ["bash", "-c", 'ulimit -n 2000 && exec "$@"', "limited", *command]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=30)
    [told] = [one for one in json.loads(done.stdout)["findings"] if one["topic"] == "file limit"]
    assert (done.returncode, told["level"]) == (1, "fault")
    assert "may open 2000 files" in told["text"]
    assert told["text"].endswith("set MOMENTS_SOCKETS_MAX to 976")


async def test_a_server_that_is_too_old_is_told_with_what_is_needed(
    single_store: Store,
    single_store_url: str,
    given: Set,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fitness, "VERSION_MIN", (7, 3))
    give_all(given, single_store_url)
    findings = await diagnose(tmp_path)
    assert amiss(findings) == [("version", "fault")]
    assert "7.2 or newer is needed, or any Valkey" in text_of(findings, "version")


class TestWithoutAStoreOfItsOwn:
    """Where the environment names no store, the directory of `moments up` counts."""

    async def test_before_the_first_start_it_says_how_to_start(self, tmp_path: Path) -> None:
        findings = await diagnose(tmp_path / "a b")
        assert amiss(findings) == [("store", "warning")]
        assert f"moments up --data '{tmp_path}/a b'" in text_of(findings, "store")

    async def test_a_machine_without_a_bundled_server_needs_another(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def none() -> str:
            raise ServerNotStarted("no bundled server for plan9: set MOMENTS_REDIS_URL")

        monkeypatch.setattr("app.commands.doctor.server_binary", none)
        findings = await diagnose(tmp_path)
        assert amiss(findings) == [("store", "fault")]
        assert "set MOMENTS_REDIS_URL" in text_of(findings, "store")

    async def test_the_running_store_and_its_secrets_are_found_there(self, tmp_path: Path) -> None:
        make_secrets(tmp_path)
        server = EmbeddedServer(tmp_path)
        server.start()
        try:
            findings = await diagnose(tmp_path)
            assert amiss(findings) == []
            assert [one.topic for one in findings] == ["data", *FOUND_OK, "admin key"]
        finally:
            server.stop()
        assert amiss(await diagnose(tmp_path)) == [("store", "warning")]

    @pytest.mark.parametrize(
        ("name", "mode", "change"),
        [(".", 0o755, "chmod 700"), (ADMIN_KEY, 0o644, "chmod 600"), (SECRET_KEY, 0o660, "600")],
    )
    async def test_what_others_can_read_is_told_with_the_mode_it_should_have(
        self, tmp_path: Path, name: str, mode: int, change: str
    ) -> None:
        make_secrets(tmp_path)
        (tmp_path / name).chmod(mode)
        findings = await diagnose(tmp_path)
        assert amiss(findings) == [("data", "fault"), ("store", "warning")]
        assert change in text_of(findings, "data")
        assert f"mode {mode:o}" in text_of(findings, "data")

    async def test_an_empty_secret_is_told(self, tmp_path: Path) -> None:
        make_secrets(tmp_path)
        (tmp_path / TOKEN_SECRET).write_text("\n")
        assert "token.secret is empty" in text_of(await diagnose(tmp_path), "settings")

    async def test_a_folder_of_something_else_is_left_out(self, tmp_path: Path) -> None:
        os.chmod(tmp_path, 0o777)
        assert amiss(await diagnose(tmp_path)) == [("store", "warning")]

    async def test_the_directory_of_another_user_is_told(self, tmp_path: Path) -> None:
        make_secrets(tmp_path)
        os.chmod(tmp_path, 0)
        user = os.geteuid()
        os.seteuid(user or 65_534)
        try:
            findings = await diagnose(tmp_path)
        finally:
            os.seteuid(user)
            os.chmod(tmp_path, 0o700)
        assert amiss(findings) == [("data", "fault")]
        assert "another user's" in text_of(findings, "data")


def make_secrets(directory: Path) -> None:
    directory.chmod(0o700)
    data = DataDir(directory)
    for name, make in (
        (ADMIN_KEY, new_admin_key),
        (TOKEN_SECRET, new_token_secret),
        (SECRET_KEY, new_secret_key),
    ):
        data.secret(name, make)


async def test_text_has_a_line_for_each_finding_and_ends_with_how_many_to_change(
    given: Set, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given(redis_url="http://x")
    with pytest.raises(CommandFailed, match="to be changed: 3 of the above"):
        await doctor(tmp_path, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("fault    secret key   MOMENTS_SECRET_KEY is not set")
    assert sum(line.startswith("fault") for line in lines) == 3


async def test_the_command_tells_programs_in_json_and_by_its_exit_code(
    store_url: str, store: Store, given: Set, tmp_path: Path
) -> None:
    def run() -> tuple[int, dict[str, object]]:
        command = [sys.executable, "-m", "app.cli", "doctor", "--json", "--data", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return done.returncode, json.loads(done.stdout)

    give_all(given, store_url)
    code, told = run()
    assert (code, told["ok"]) == (0, True)
    given(secret_key=None)
    code, told = run()
    assert (code, told["ok"]) == (1, False)
    assert isinstance(told["findings"], list)
    assert {"topic": "store", "level": "ok"}.items() <= told["findings"][4].items()
