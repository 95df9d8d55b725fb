"""Settings that are read from files: `MOMENTS_SECRET_KEY_FILE` names a file with the secret key.

An environment is seen by whoever may look at the process, and by everything it starts; a file has
an owner and a mode. Orchestrators hand secrets over as files (`/run/secrets/…`) for that reason.
"""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from app.errors import UsageMistake

FILE = "_FILE"  # behind the name of a variable
FILE_BYTES_MAX = 64 * 1024


def read_files(
    names: Mapping[str, str], environment: Mapping[str, str], may_be_empty: Collection[str] = ()
) -> dict[str, str]:
    """What the files named in `environment` hold, by setting.

    `names` is setting → variable; an empty file is a mistake but for the settings of
    `may_be_empty`, which are lists. A variable that is empty counts as not set, as Compose fills it
    in. Raises UsageMistake, which names the variable and the file and never what it holds.
    """
    found: dict[str, str] = {}
    for setting, variable in names.items():
        path = environment.get(variable + FILE)
        if not path:
            continue
        if environment.get(variable):
            raise UsageMistake(
                f"{variable} and {variable}{FILE} are both set: unset one, so that it is clear "
                "which counts"
            )
        found[setting] = text = _read(variable + FILE, Path(path))
        if not text and setting not in may_be_empty:
            raise UsageMistake(f"{variable}{FILE}: {path} is empty: put the secret into it")
    return found


def _read(variable: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageMistake(
            f"{variable}: cannot read {path} ({error.strerror}): make it, readable by user "
            f"{os.geteuid()}"
        ) from error
    if len(raw) > FILE_BYTES_MAX:
        raise UsageMistake(
            f"{variable}: {path} has more than {FILE_BYTES_MAX} bytes: it is no secret"
        )
    try:
        return raw.decode().strip()
    except UnicodeDecodeError:
        # The cause is left out: it holds the bytes.
        raise UsageMistake(f"{variable}: {path} is no text in UTF-8") from None
