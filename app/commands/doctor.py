"""`moments doctor`: looks at settings, secrets, limits and store, and says what to change."""

import difflib
import json
import os
import resource
import shlex
import socket
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from rich.text import Text

from app.clock import now_ms
from app.commands.data_dir import ADMIN_KEY, SECRET_KEY, TOKEN_SECRET, read_secret
from app.commands.egress import look_at_egress
from app.commands.environment import read_settings, variable
from app.commands.finding import Finding, Level, fault, ok, warning
from app.commands.signals import PARENT_PIPE
from app.commands.store_findings import Clock, look_at_store
from app.commands.terminal import console, say
from app.commands.token_keys import make_verifier
from app.errors import BadSealingKey, CommandFailed, EmbeddedServerError
from app.log import mask
from app.sealing import Sealer
from app.secret_files import FILE
from app.settings import SECRET_SETTINGS, Settings
from app.store.embedded import EmbeddedServer, server_binary, socket_path
from app.tokens import has_token_keys

FILES_BESIDE_SOCKETS = 1_024  # connections to the store, log, listener

_FILES = {"admin_key": ADMIN_KEY, "token_secret": TOKEN_SECRET, "secret_key": SECRET_KEY}
_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAULT: "bold red"}


async def doctor(data: Path, *, as_json: bool) -> None:
    """Prints what it finds. Raises CommandFailed when something has to change."""
    findings = [replace(one, text=mask(one.text)) for one in await diagnose(data)]
    faults = sum(one.level is Level.FAULT for one in findings)
    if as_json:
        say(json.dumps({"ok": not faults, "findings": [asdict(one) for one in findings]}))
    else:
        _show(findings)
    if faults:
        raise CommandFailed(f"to be changed: {faults} of the above")


def _show(findings: Iterable[Finding]) -> None:
    out = console(sys.stdout)
    for one in findings:
        level = (f"{one.level:<9}", _STYLES[one.level])
        out.print(Text.assemble(level, f"{one.topic:<13}", one.text))


async def diagnose(data: Path, clock: Clock = now_ms) -> list[Finding]:
    """All there is to say of a service set up by this environment.

    `data` is the directory of `moments up`, whose store and secrets count where the environment
    names no others.
    """
    findings = [*_look_at_variables()]
    try:
        findings += _look_at_directory(data)
        settings = _settings_with_secrets(data)
    except PermissionError as error:
        return [*findings, fault("data", f"{error.filename} is another user's: ask as that one")]
    except CommandFailed as error:
        return [*findings, fault("settings", str(error))]
    findings += [_tell_settings(), *_look_at_secrets(settings), _look_at_file_limit(settings)]
    findings += await look_at_egress(settings)
    if _has_own_store(settings):
        return findings + await look_at_store(settings, clock)
    return findings + await _look_at_bundled_store(settings, data, clock)


def _has_own_store(settings: Settings) -> bool:
    """Otherwise `moments up` starts the bundled one, and makes the secrets that are missing."""
    return "redis_url" in settings.model_fields_set


def _look_at_variables() -> Iterator[Finding]:
    """A misspelt variable would be passed over in silence."""
    prefix, known = variable(""), {name.upper() for name in Settings.model_fields}
    known |= {name.upper() + FILE for name in SECRET_SETTINGS}
    for name in sorted(os.environ):
        setting = name.upper().removeprefix(prefix)
        if not name.upper().startswith(prefix) or setting in known or name == PARENT_PIPE:
            continue
        near = difflib.get_close_matches(setting, known, 1)
        meant = f": is {variable(near[0])} meant?" if near else ", and changes nothing"
        yield warning("settings", f"{name} is no setting{meant}")


def _tell_settings() -> Finding:
    given = sorted(read_settings().model_fields_set)
    told = ", ".join(map(variable, given)) or "none"
    return ok("settings", f"set: {told}; all others have their defaults")


def _look_at_directory(data: Path) -> Iterator[Finding]:
    """Raises PermissionError when it cannot be seen."""
    secrets = [data / name for name in _FILES.values() if (data / name).exists()]
    if not secrets and not (data / "owner.lock").exists():
        return  # no directory of `moments up`
    found = [_look_at_mode(data, 0o700), *(_look_at_mode(path, 0o600) for path in secrets)]
    yield from filter(None, found)
    if not any(found):
        yield ok("data", f"{data} and the secrets in it are for their owner alone")


def _look_at_mode(path: Path, wanted: int) -> Finding | None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & 0o077:
        return None
    change = f"chmod {wanted:o} {shlex.quote(str(path))}"
    return fault("data", f"{path} is open to other users (mode {mode:o}): {change}")


def _settings_with_secrets(data: Path) -> Settings:
    """The settings, with the secrets in `data` where they bring none. Raises CommandFailed."""
    settings = read_settings()
    kept = {
        name: read_secret(data / file)
        for name, file in _FILES.items()
        if getattr(settings, name) is None and (data / file).exists()
    }
    return read_settings(**kept)


def _look_at_secrets(settings: Settings) -> Iterator[Finding]:
    yield _look_at_secret_key(settings)
    yield _look_at_token_keys(settings)


def _look_at_secret_key(settings: Settings) -> Finding:
    name = variable("secret_key")
    if settings.secret_key is None:
        return _missing(
            settings,
            "secret key",
            f"{name} is not set: it encrypts the endpoints' secrets, and no api or worker starts "
            "without. Make one with `openssl rand -base64 32`, keep it, give it to all of them",
        )
    try:
        Sealer.from_base64(settings.secret_key, settings.secret_keys_old)
    except BadSealingKey as error:
        names = f"{name} or {variable('secret_keys_old')}" if settings.secret_keys_old else name
        return fault("secret key", f"{names}: {error}. Make one with `openssl rand -base64 32`")
    if settings.secret_keys_old:
        return warning(
            "secret key",
            "older ones are still set: once every process has the newest, run `moments secret-key "
            f"rotate`, then unset {variable('secret_keys_old')}",
        )
    return ok("secret key", "there is one for the endpoints' secrets")


def _look_at_token_keys(settings: Settings) -> Finding:
    secret, public_key = variable("token_secret"), variable("token_public_key")
    if not has_token_keys(settings):
        return _missing(
            settings,
            "token secret",
            f"neither {secret} nor {public_key} is set: no user token can be checked, and no "
            "gateway starts. Make a secret with `openssl rand -base64 48`, or give the public key "
            "of whoever makes the tokens",
        )
    try:
        make_verifier(settings)
    except CommandFailed as error:
        return fault("token secret", str(error))
    return ok("token secret", "user tokens can be checked")


def _missing(settings: Settings, topic: str, text: str) -> Finding:
    if _has_own_store(settings):
        return fault(topic, text)
    return ok(topic, "none yet: `moments up` makes one when it first starts")


def _look_at_file_limit(settings: Settings) -> Finding:
    """Every process raises its limit as far as it may when it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.sockets_max + FILES_BESIDE_SOCKETS
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        return ok("file limit", f"enough for the {settings.sockets_max} sockets of a gateway")
    return fault(
        "file limit",
        f"a process may open {hard} files, and a gateway with {variable('sockets_max')}="
        f"{settings.sockets_max} needs {wanted}: raise the hard limit (ulimit -Hn, LimitNOFILE= of "
        f"systemd, ulimits of a container), or set {variable('sockets_max')} to "
        f"{max(hard - FILES_BESIDE_SOCKETS, 1)}",
    )


async def _look_at_bundled_store(settings: Settings, data: Path, clock: Clock) -> list[Finding]:
    try:
        server_binary()
        server = EmbeddedServer(data)
        url, path = server.url, socket_path(server.directory)
    except EmbeddedServerError as error:
        return [fault("store", str(error))]
    if not _is_served(path):
        start = f"moments up --data {shlex.quote(str(data))}"
        return [warning("store", f"it does not run: start it with `{start}`, then ask again")]
    return await look_at_store(_with_bundled_store(settings, url), clock)


def _with_bundled_store(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"redis_url": url, "redis_password": None})


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(path)) == 0
