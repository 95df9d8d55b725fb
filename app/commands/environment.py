"""The settings, read from the environment for a person to understand when they are wrong."""

import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from pydantic import ValidationError

from app.errors import UsageMistake
from app.hidden import hide
from app.settings import SECRET_VARIABLES, Settings
from app.store.url import passwords_of

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
    hide(_secrets_in_environment())
    try:
        settings = Settings(**chosen)
        hide(_secrets(settings))
        return settings
    except ValidationError as error:
        wrong = "; ".join(
            f"{variable(str(issue['loc'][0])) if issue['loc'] else 'settings'}: {_reason(issue)}"
            for issue in error.errors(include_url=False, include_input=False)
        )
        raise UsageMistake(wrong) from error
    except ValueError as error:  # a text that a setting's own splitting cannot read
        raise UsageMistake(f"a setting cannot be read: {error}") from error


_URLS = ("redis_url", "egress_proxy")  # of which only a password is secret
# By which OpenTelemetry is told how to reach a collector: `authorization=Bearer%20…,x-key=…`.
_COLLECTOR_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
_COLLECTOR_URLS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def _secrets_in_environment() -> Iterator[str]:
    """Also of settings that are then refused: an error may quote what it was given."""
    for setting, name in SECRET_VARIABLES.items():
        if value := os.environ.get(name):
            yield from passwords_of(value) if setting in _URLS else (value,)
    for name in _COLLECTOR_HEADERS:
        for header in os.environ.get(name, "").split(","):
            value = unquote(header.partition("=")[2].strip())
            yield value
            yield value.rpartition(" ")[2]  # of `Bearer …`, what is secret
    for name in _COLLECTOR_URLS:
        yield from passwords_of(os.environ.get(name, ""))


def _secrets(settings: Settings) -> Iterator[str | None]:
    yield from (settings.admin_key, settings.token_secret, settings.secret_key)
    yield from settings.token_keys.values()
    yield from settings.secret_keys_old.split(",")
    yield settings.redis_password
    yield from passwords_of(settings.redis_url)
    yield from passwords_of(settings.egress_proxy or "")


def _reason(issue: Any) -> str:
    reason = str(issue["msg"]).removeprefix("Value error, ")
    return reason[:1].lower() + reason[1:]
