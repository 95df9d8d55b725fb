"""The data directory of `moments up`: who has it, and the secrets made at the first start."""

import base64
import fcntl
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.errors import CommandFailed, UsageMistake

ADMIN_KEY = "admin.key"
TOKEN_SECRET = "token.secret"
SECRET_KEY = "secret.key"


@dataclass(frozen=True, slots=True)
class Secret:
    """The text of a secret, and whether it was made just now."""

    text: str
    made: bool


def new_admin_key() -> str:
    return "mk_" + secrets.token_urlsafe(32)


def new_token_secret() -> str:
    return secrets.token_urlsafe(48)


def new_secret_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


class DataDir:
    """A directory that one `moments up` has at a time, readable by its owner alone."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    def open(self) -> None:
        """Makes the directory if it is missing, and takes it.

        Raises UsageMistake when it cannot be used, CommandFailed when another process has it.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(
                self.path / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise UsageMistake(
                f"cannot use the data directory {self.path} ({error.strerror}): "
                "choose another with --data"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise CommandFailed(
                f"another `moments up` uses {self.path}: stop it, or choose another with --data"
            ) from error

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def secret(self, name: str, make: Callable[[], str]) -> Secret:
        """The secret kept in the file `name`; made, with mode 0600, when there is none.

        Raises CommandFailed when the file is there and cannot be read or is empty.
        """
        path = self.path / name
        if path.exists():
            return Secret(read_secret(path), made=False)
        text = make()
        _write(path, text + "\n")
        return Secret(text, made=True)


def read_secret(path: Path) -> str:
    """The secret in a file. Raises CommandFailed when it cannot be read or is empty."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise CommandFailed(f"cannot read {path} ({reason})") from error
    if not text:
        raise CommandFailed(f"{path} is empty: restore it, or remove it to have a new one made")
    return text


def _write(path: Path, text: str) -> None:
    """Whole or not at all: a half-written secret would be taken for the real one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(file, "w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
