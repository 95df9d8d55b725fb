"""What `moments up` hands its children of what it was given, and what it decides for them."""

from pathlib import Path

import pytest

from app.commands.environment import read_settings
from app.commands.up import Options, Secrets, children_environment, plan_roles

NONE = Secrets(None, None, None)


def test_what_stands_in_a_file_stays_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://moments:hush-hush@h:1/2\n")
    monkeypatch.setenv("MOMENTS_REDIS_URL_FILE", str(tmp_path / "url"))
    handed = children_environment(read_settings(), NONE)
    assert not [value for value in handed.values() if "hush-hush" in value]
    for name, value in handed.items():
        monkeypatch.setenv(name, value)
    assert read_settings().redis_url == "redis://moments:hush-hush@h:1/2"


def test_a_password_in_a_file_is_handed_on_as_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("hush-hush\n")
    monkeypatch.setenv("MOMENTS_REDIS_URL", "redis://moments@h:1/2")
    monkeypatch.setenv("MOMENTS_REDIS_PASSWORD_FILE", str(tmp_path / "password"))
    handed = children_environment(read_settings(), NONE)
    assert "hush-hush" not in handed.values()
    assert handed["MOMENTS_REDIS_PASSWORD_FILE"] == str(tmp_path / "password")
    assert handed["MOMENTS_REDIS_URL"] == "redis://moments@h:1/2"


def test_a_password_is_not_for_the_server_that_up_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("hush-hush")
    monkeypatch.setenv("MOMENTS_REDIS_PASSWORD_FILE", str(tmp_path / "password"))
    bundled = {"redis_url": "unix:///data/valkey.sock", "redis_password": None}
    handed = children_environment(read_settings().model_copy(update=bundled), NONE)
    assert not {name for name in handed if name.startswith("MOMENTS_REDIS_PASSWORD")}


def test_the_api_is_told_where_pages_find_the_gateway_unless_a_setting_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def told(**options: bool) -> str | None:
        environment = children_environment(read_settings(gateway_port=8101), NONE)
        [api], *_ = plan_roles(
            Options(tmp_path, **options), read_settings(gateway_port=8101), environment
        )
        return api.env.get("MOMENTS_SOCKET_PORT")

    assert told() == "8101"
    assert told(gateway=False) is None
    monkeypatch.setenv("MOMENTS_SOCKET_PORT", "443")
    assert told() == "443"
