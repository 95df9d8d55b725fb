"""`moments secret-key rotate`: seals everything anew, so that an older key can be taken away."""

import json
import time
from pathlib import Path

from app.commands.api import make_sealer
from app.commands.data_dir import SECRET_KEY, read_secret
from app.commands.environment import read_settings, variable
from app.commands.terminal import note, say
from app.errors import CommandFailed, StoreError, StoreUnfit
from app.settings import Settings
from app.store.client import Store, connect
from app.store.embedded import EmbeddedServer
from app.store.resealing import Progress, Resealing
from app.store.schema import read_schema
from app.store.vault import Vault

PASSES_MAX = 3
NOTE_S = 2.0  # between two lines that say how far it is


async def rotate(data: Path, *, as_json: bool) -> None:
    """Seals anew, and says when no older key is needed. Raises CommandFailed otherwise.

    `data` is the directory of `moments up`, whose store and key count where the settings name no
    others.
    """
    settings = _settings_with_key(data)
    vault = Vault(make_sealer(settings))
    try:
        url, password = _store_url(settings, data)
        store = connect(url, password=password, ack_timeout_ms=settings.ack_timeout_ms)
        try:
            resealed = await _rotate(store, settings, vault)
        finally:
            await store.close()
    except (StoreError, StoreUnfit) as error:
        raise CommandFailed(
            f"the store failed: {error}. What is sealed anew stays so: run this again"
        ) from error
    _tell(resealed, as_json)


def _settings_with_key(data: Path) -> Settings:
    settings = read_settings()
    if settings.secret_key is None and (data / SECRET_KEY).exists():
        return read_settings(secret_key=read_secret(data / SECRET_KEY))
    return settings


def _store_url(settings: Settings, data: Path) -> tuple[str, str | None]:
    """The URL, and the password that is set beside it: the bundled server has none."""
    if "redis_url" in settings.model_fields_set or not data.exists():
        return settings.redis_url, settings.redis_password
    return EmbeddedServer(data).url, None


async def _rotate(store: Store, settings: Settings, vault: Vault) -> int:
    """How many endpoints were sealed anew. Passes until one finds nothing to do."""
    meta = await read_schema(store, settings.shards)
    if meta is None:
        return 0
    resealing = Resealing(store, meta.shards, vault)
    total = 0
    for _ in range(PASSES_MAX):
        progress = await _pass(resealing)
        total += progress.resealed
        if progress.resealed == 0:
            _check_none_lost(progress)
            return total
    raise CommandFailed(
        "something goes on sealing with an older key: start every api with the newest in "
        f"{variable('secret_key')} first, then run this again"
    )


async def _pass(resealing: Resealing) -> Progress:
    noted_at = time.monotonic()
    progress = Progress(0)
    async for progress in resealing.steps():
        if time.monotonic() - noted_at >= NOTE_S:
            noted_at = time.monotonic()
            note(
                f"shard {progress.shards_done + 1} of {progress.shards}: "
                f"{progress.seen} endpoints, {progress.resealed} sealed anew"
            )
    return progress


def _check_none_lost(progress: Progress) -> None:
    if progress.lost:
        raise CommandFailed(
            f"endpoints sealed with a key that is not among ours: {progress.lost}. Add it to "
            f"{variable('secret_keys_old')}, or give them a new secret and headers"
        )


def _tell(resealed: int, as_json: bool) -> None:
    if as_json:
        say(json.dumps({"resealed": resealed}))
        return
    old = variable("secret_keys_old")
    say(f"endpoints sealed anew: {resealed}. {old} is not needed any more: unset it everywhere")
