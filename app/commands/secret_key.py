"""`moments secret-key rotate`: seals everything anew, so that an older key can be taken away."""

import json
from pathlib import Path

from app.commands.api import make_sealer
from app.commands.data_dir import SECRET_KEY, read_secret
from app.commands.environment import read_settings, variable
from app.commands.progress import Bar
from app.commands.terminal import say
from app.errors import CommandFailed, StoreError, StoreUnfit, UsageMistake
from app.settings import Settings
from app.store.client import Store, connect
from app.store.embedded import EmbeddedServer
from app.store.resealing import Progress, Resealing
from app.store.schema import read_schema
from app.store.vault import Vault

PASSES_MAX = 3


async def rotate(data: Path, *, as_json: bool) -> None:
    """Seals anew, and says when no older key is needed. Raises CommandFailed otherwise, and
    UsageMistake without a key.

    `data` is the directory of `moments up`, whose store and key count where the settings name no
    others.
    """
    settings = _settings_with_key(data)
    vault = Vault(make_sealer(settings))
    try:
        url, password = _store_url(settings, data)
        store = connect(url, password=password, ack_timeout_ms=settings.ack_timeout_ms)
        try:
            with Bar("sealing anew", quiet=as_json) as bar:
                resealed = await _rotate(store, settings, vault, bar)
        finally:
            await store.close()
    except (StoreError, StoreUnfit) as error:
        raise CommandFailed(
            f"the store failed: {error}. What is sealed anew stays so: run this again"
        ) from error
    _tell(resealed, as_json)


def _settings_with_key(data: Path) -> Settings:
    settings = read_settings()
    if settings.secret_key is not None:
        return settings
    path = data / SECRET_KEY
    if not path.exists():
        raise UsageMistake(
            f"no secret key: set {variable('secret_key')}, or name the directory of `moments up` "
            f"with --data ({path} is not there)"
        )
    return read_settings(secret_key=read_secret(path))


def _store_url(settings: Settings, data: Path) -> tuple[str, str | None]:
    """The URL, and the password that is set beside it: the bundled server has none."""
    if "redis_url" in settings.model_fields_set or not data.exists():
        return settings.redis_url, settings.redis_password
    return EmbeddedServer(data).url, None


async def _rotate(store: Store, settings: Settings, vault: Vault, bar: Bar) -> int:
    """How many endpoints were sealed anew. Passes until one finds nothing to do."""
    meta = await read_schema(store, settings.shards)
    if meta is None:
        return 0
    resealing = Resealing(store, meta.shards, vault)
    total = 0
    for _ in range(PASSES_MAX):
        progress = await _pass(resealing, bar)
        total += progress.resealed
        if progress.resealed == 0:
            _check_none_lost(progress)
            return total
    raise CommandFailed(
        "something goes on sealing with an older key: start every api with the newest in "
        f"{variable('secret_key')} first, then run this again"
    )


async def _pass(resealing: Resealing, bar: Bar) -> Progress:
    progress = Progress(0)
    async for progress in resealing.steps():
        told = f"shards, {progress.seen} endpoints, {progress.resealed} sealed anew"
        bar.show(progress.shards_done, progress.shards, told)
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
