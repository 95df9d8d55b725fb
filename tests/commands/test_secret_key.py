"""`moments secret-key rotate`: beside a running service, until the older key is not needed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.commands import progress, secret_key
from app.commands.data_dir import SECRET_KEY, DataDir, new_secret_key
from app.commands.progress import Bar
from app.commands.secret_key import rotate
from app.domain.signature import verify
from app.errors import CommandFailed, UsageMistake
from app.store.client import Store
from app.store.resealing import Progress, Resealing
from tests.commands.screen import terminal
from tests.flows.service import serve
from tests.receivers import Receiver

OLD, NEW = new_secret_key(), new_secret_key()
HEADERS = {"authorization": "Bearer planted"}
Set = Callable[..., None]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, single_store_url: str) -> Set:
    """Sets settings in an environment that has no others but the store's URL."""
    for name in os.environ:
        if name.startswith("MOMENTS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MOMENTS_REDIS_URL", single_store_url)

    def give(**settings: str) -> None:
        for name, value in settings.items():
            monkeypatch.setenv(f"MOMENTS_{name.upper()}", value)

    return give


async def test_a_service_goes_on_sending_before_while_and_after_the_key_is_rotated(
    single_store: Store, given: Set, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Receiver() as receiver:
        async with serve(single_store, secret_key=OLD) as service:
            await service.befriend(("alice", "bob"))
            made = await service.register("bob", receiver.url, headers=HEADERS)
        both = {"secret_key": NEW, "secret_keys_old": OLD}
        given(**both)
        async with serve(single_store, **both) as service:
            await service.settled((await service.post("alice"))["id"], "bob", "delivered")
            await rotate(tmp_path, as_json=False)
            await service.settled((await service.post("alice"))["id"], "bob", "delivered")
        async with serve(single_store, secret_key=NEW) as service:
            await service.settled((await service.post("alice"))["id"], "bob", "delivered")
        assert len(receiver.requests) == 3
        for request in receiver.requests:
            assert request.headers["authorization"] == HEADERS["authorization"]
            at_s = int(request.headers["webhook-timestamp"])
            assert verify(made["secret"], request.headers, request.body, at_s)
    told = capsys.readouterr().out
    assert told.startswith("endpoints sealed anew: 1. MOMENTS_SECRET_KEYS_OLD is not needed")


async def test_it_says_so_when_an_older_key_is_still_needed(
    single_store: Store, given: Set, tmp_path: Path
) -> None:
    async with serve(single_store, secret_key=OLD) as service:
        await service.register("bob", "http://127.0.0.1:9999/")
    given(secret_key=NEW)
    with pytest.raises(
        CommandFailed, match=r"endpoints .* ours: 1\. Add it to MOMENTS_SECRET_KEYS_OLD"
    ):
        await rotate(tmp_path, as_json=False)


async def test_it_shows_how_far_it_is_on_a_terminal(
    single_store: Store, given: Set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SHOWN_AFTER_S", 0.0)
    async with serve(single_store, secret_key=OLD) as service:
        await service.register("bob", "http://127.0.0.1:9999/")
    given(secret_key=NEW, secret_keys_old=OLD)
    with terminal() as screen:
        monkeypatch.setattr(sys, "stderr", screen.stream)
        await rotate(tmp_path, as_json=False)
        assert "1 endpoints, 1 sealed anew" in screen.read()
        await rotate(tmp_path, as_json=True)
        assert screen.read() == ""


async def test_it_ends_when_something_goes_on_sealing_with_an_older_key(
    single_store: Store, given: Set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(single_store, secret_key=OLD) as service:
        endpoint = await service.register("bob", "http://127.0.0.1:9999/")
        whole_pass = secret_key._pass

        async def with_a_change_before(resealing: Resealing, bar: Bar) -> Progress:
            await service.call("POST", f"/endpoints/{endpoint['id']}/secret:rotate", {})
            return await whole_pass(resealing, bar)

        monkeypatch.setattr(secret_key, "_pass", with_a_change_before)
        given(secret_key=NEW, secret_keys_old=OLD)
        with pytest.raises(CommandFailed, match="start every api with the newest"):
            await rotate(tmp_path, as_json=True)


def test_it_is_a_command(given: Set, tmp_path: Path) -> None:
    given(secret_key=NEW)
    command = [sys.executable, "-m", "app.cli", "secret-key", "rotate", "--json"]
    done = subprocess.run(
        [*command, "--data", str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, json.loads(done.stdout)) == (0, {"resealed": 0})


async def test_the_key_of_the_data_directory_is_taken_where_the_settings_have_none(
    single_store: Store,
    given: Set,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with serve(single_store, secret_key=OLD) as service:
        await service.register("bob", "http://127.0.0.1:9999/")
    DataDir(tmp_path).secret(SECRET_KEY, lambda: NEW)
    given(secret_keys_old=OLD)
    for resealed in (1, 0):
        await rotate(tmp_path, as_json=True)
        assert json.loads(capsys.readouterr().out) == {"resealed": resealed}


async def test_a_store_that_was_never_used_needs_nothing(
    single_store: Store, given: Set, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given(secret_key=NEW)
    await rotate(tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"resealed": 0}
    assert await single_store.execute("DBSIZE") == 0


async def test_keys_that_are_none_are_named_and_not_shown(given: Set, tmp_path: Path) -> None:
    given(secret_key=NEW, secret_keys_old="c2hvcnQ=")
    with pytest.raises(CommandFailed, match="MOMENTS_SECRET_KEYS_OLD") as caught:
        await rotate(tmp_path, as_json=False)
    assert "c2hvcnQ" not in str(caught.value)


async def test_a_store_that_is_away_is_no_loss(given: Set, tmp_path: Path) -> None:
    given(secret_key=NEW, redis_url="redis://127.0.0.1:1/0")
    with pytest.raises(CommandFailed, match="run this again"):
        await rotate(tmp_path, as_json=False)


async def test_without_a_key_it_says_where_one_is_looked_for(given: Set, tmp_path: Path) -> None:
    with pytest.raises(UsageMistake, match=r"set MOMENTS_SECRET_KEY, or .* with --data \(.*key"):
        await rotate(tmp_path / "nowhere", as_json=False)
