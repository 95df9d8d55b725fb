"""What `moments up` hands its children of what it was given, and what it decides for them."""

from pathlib import Path

import pytest

from app.commands.environment import read_settings
from app.commands.up import Secrets, children_environment

NONE = Secrets(None, None, None)


def test_a_url_from_a_file_is_decided_by_up_and_not_read_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "url").write_text("redis://moments@h:1/2\n")
    (tmp_path / "password").write_text("hush-hush\n")
    monkeypatch.setenv("MOMENTS_REDIS_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("MOMENTS_REDIS_PASSWORD_FILE", str(tmp_path / "password"))
    settings = read_settings()
    for name, value in (handed := children_environment(settings, NONE)).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MOMENTS_REDIS_URL_FILE")
    assert "MOMENTS_REDIS_URL_FILE" not in handed
    assert "hush-hush" not in handed.values()  # a file stays one
    read = read_settings()
    assert (read.redis_url, read.redis_password) == ("redis://moments@h:1/2", "hush-hush")


def test_a_password_is_not_for_the_server_that_up_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("hush-hush")
    monkeypatch.setenv("MOMENTS_REDIS_PASSWORD_FILE", str(tmp_path / "password"))
    bundled = {"redis_url": "unix:///data/valkey.sock", "redis_password": None}
    handed = children_environment(read_settings().model_copy(update=bundled), NONE)
    assert not {name for name in handed if name.startswith("MOMENTS_REDIS_PASSWORD")}
