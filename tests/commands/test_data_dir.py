import base64
import stat

import pytest

from app.commands.data_dir import (
    DataDir,
    new_admin_key,
    new_secret_key,
    new_token_secret,
    read_secret,
)
from app.errors import CommandFailed, UsageMistake
from app.settings import Settings


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_secret_is_made_once_and_is_for_its_owner_alone(tmp_path):
    data = DataDir(tmp_path / "data")
    data.open()
    made = data.secret("admin.key", new_admin_key)
    assert made.made
    again = data.secret("admin.key", new_admin_key)
    assert (again.text, again.made) == (made.text, False)
    assert mode(tmp_path / "data") == 0o700
    assert mode(tmp_path / "data" / "admin.key") == 0o600
    assert sorted(path.name for path in data.path.iterdir()) == ["admin.key", "up.lock"]
    data.close()


def test_the_secrets_made_are_settings_that_pass():
    settings = Settings(
        admin_key=new_admin_key(), token_secret=new_token_secret(), secret_key=new_secret_key()
    )
    assert len(base64.b64decode(settings.secret_key)) == 32
    assert new_admin_key() != new_admin_key()


def test_a_directory_belongs_to_one_at_a_time(tmp_path):
    first, second = DataDir(tmp_path), DataDir(tmp_path)
    first.open()
    with pytest.raises(CommandFailed, match="another `moments up` uses"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_a_directory_that_cannot_be_made_is_a_mistake_of_usage(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageMistake, match="choose another with --data"):
        DataDir(tmp_path / "file" / "data").open()


def test_an_empty_secret_is_refused_and_not_replaced(tmp_path):
    (tmp_path / "admin.key").write_text("\n")
    data = DataDir(tmp_path)
    with pytest.raises(CommandFailed, match="is empty"):
        data.secret("admin.key", new_admin_key)


def test_a_secret_that_is_missing_is_told_with_its_path(tmp_path):
    with pytest.raises(CommandFailed, match=r"none\.key \(No such file"):
        read_secret(tmp_path / "none.key")
