"""A Lua script of the store, known by the name of its file."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app.store.connection import pack

_FOLDER = Path(__file__).parent / "scripts"


@dataclass(frozen=True, slots=True)
class Script:
    """A script as it is sent.

    `sha` is what EVALSHA wants, `load` the packed SCRIPT LOAD that a server may need first. A
    script is `repeatable`, sent once more when its reply was lost, unless its file has a line
    that starts with `-- ONCE` and says why not.
    """

    sha: str
    load: bytes
    repeatable: bool


@cache
def find_script(name: str) -> Script:
    """Reads `scripts/<name>.lua`, once."""
    text = (_FOLDER / f"{name}.lua").read_bytes()
    sha = hashlib.sha1(text, usedforsecurity=False).hexdigest()
    return Script(sha, pack(("SCRIPT", "LOAD", text)), repeatable=b"\n-- ONCE" not in text)
