"""The settings, read from the environment for a person to understand when they are wrong."""

import os
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app.errors import UsageMistake
from app.settings import Settings

_PREFIX = str(Settings.model_config.get("env_prefix", ""))


def variable(setting: str) -> str:
    """The name of a setting in the environment."""
    return _PREFIX + setting.upper()


def environment_of(chosen: Mapping[str, str]) -> dict[str, str]:
    """Our environment for a process with just the `chosen` settings: whoever tries something out
    must not touch a store that is in use."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(variable(""))
    }
    return {**inherited, **{variable(name): value for name, value in chosen.items()}}


def read_settings(**given: Any) -> Settings:
    """The settings from the environment; what is `given` and not None goes before it.

    Raises UsageMistake naming each variable that is wrong, and not its value: it may be a secret.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**chosen)
    except ValidationError as error:
        wrong = "; ".join(
            f"{variable(str(issue['loc'][0])) if issue['loc'] else 'settings'}: {_reason(issue)}"
            for issue in error.errors(include_url=False, include_input=False)
        )
        raise UsageMistake(wrong) from error
    except ValueError as error:  # a text that a setting's own splitting cannot read
        raise UsageMistake(f"a setting cannot be read: {error}") from error


def _reason(issue: Any) -> str:
    reason = str(issue["msg"]).removeprefix("Value error, ")
    return reason[:1].lower() + reason[1:]
