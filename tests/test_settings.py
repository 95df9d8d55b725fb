import json

import pytest

from app.commands.environment import read_settings
from app.errors import UsageMistake
from app.settings import SECRET_SETTINGS

SECRET = "a secret of more than 32 characters"


def test_token_keys_are_read_by_kid(monkeypatch):
    keys = {"2026-01": SECRET, "theirs": "-----BEGIN PUBLIC KEY-----\nMCow\n-----END …"}
    monkeypatch.setenv("MOMENTS_TOKEN_KEYS", json.dumps(keys))
    assert read_settings().token_keys == keys


def test_there_are_no_more_token_keys_unless_set(monkeypatch):
    assert read_settings().token_keys == {}
    monkeypatch.setenv("MOMENTS_TOKEN_KEYS", " ")  # as Compose fills in what is not set
    assert read_settings().token_keys == {}


@pytest.mark.parametrize(
    "text",
    [
        *("{", "hush", "[]", "7", "[" * 100_000, '["hush"]', '"hush"'),
        *(f'{{"a": "{SECRET}", "a": "{SECRET}"}}', '{"a": "hush"}', '{"a": 7}', '{"a": null}'),
        *(f'{{"": "{SECRET}"}}', json.dumps({"x" * 65: SECRET})),
        *(f'{{"a": {{"b": "{SECRET}"}}}}', json.dumps({str(n): SECRET for n in range(17)})),
    ],
    ids=lambda text: text[:30],
)
def test_token_keys_that_are_none_are_refused_by_name_and_not_shown(monkeypatch, text):
    monkeypatch.setenv("MOMENTS_TOKEN_KEYS", text)
    with pytest.raises(UsageMistake, match=r"^MOMENTS_TOKEN_KEYS: ") as refused:
        read_settings()
    assert "hush" not in str(refused.value)
    assert SECRET not in str(refused.value)


def test_trusted_proxies_are_networks(monkeypatch):
    monkeypatch.setenv("MOMENTS_TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8,127.0.0.1")
    networks = [str(network) for network in read_settings().trusted_proxies]
    assert networks == ["10.0.0.0/8", "fd00::/8", "127.0.0.1/32"]
    monkeypatch.setenv("MOMENTS_TRUSTED_PROXIES", "my-proxy")
    with pytest.raises(UsageMistake, match=r"^MOMENTS_TRUSTED_PROXIES: .*my-proxy"):
        read_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("USER_RATE_PER_S", "-1"), ("KEY_RATE_PER_S", "1e9"), ("AUTHOR_BURST", "0")),
        *(("RATE_NAMES_MAX", "0"), ("HEADERS_MAX", "129"), ("HEADERS_MAX", "15")),
        *(("CONNECTIONS_PER_ADDRESS_MAX", "-1"), ("HEAD_BYTES_MAX", "100")),
    ],
)
def test_limits_that_make_no_sense_are_refused_by_name(monkeypatch, name, value):
    monkeypatch.setenv(f"MOMENTS_{name}", value)
    with pytest.raises(UsageMistake, match=rf"^MOMENTS_{name}: "):
        read_settings()


def test_a_secret_may_stand_in_a_file_and_white_space_round_it_does_not_count(
    monkeypatch, tmp_path
):
    file = tmp_path / "secret"
    file.write_text(f"\n {SECRET}\n\n")
    monkeypatch.setenv("MOMENTS_TOKEN_SECRET_FILE", str(file))
    monkeypatch.setenv("MOMENTS_SECRET_KEY_FILE", "")  # as Compose fills in what is not set
    settings = read_settings()
    assert settings.token_secret == SECRET
    assert settings.secret_key is None
    assert settings.model_fields_set >= {"token_secret"}


@pytest.mark.parametrize("setting", SECRET_SETTINGS)
def test_every_secret_can_be_read_from_a_file(monkeypatch, tmp_path, setting):
    value = {
        "admin_key": "mk_" + "x" * 40,
        "token_keys": json.dumps({"a": SECRET}),
        "redis_url": "redis://u:pw@h/1",
        "egress_proxy": "http://u:pw@h:3128",
    }.get(setting, SECRET)
    (tmp_path / "file").write_text(value)
    monkeypatch.setenv(f"MOMENTS_{setting.upper()}_FILE", str(tmp_path / "file"))
    found = getattr(read_settings(), setting)
    assert found == ({"a": SECRET} if setting == "token_keys" else value)


def test_lists_of_secrets_may_be_empty_files(monkeypatch, tmp_path):
    (tmp_path / "none").touch()
    for name in ("TOKEN_KEYS", "SECRET_KEYS_OLD", "EGRESS_PROXY"):
        monkeypatch.setenv(f"MOMENTS_{name}_FILE", str(tmp_path / "none"))
    settings = read_settings()
    assert (settings.token_keys, settings.secret_keys_old) == ({}, "")
    assert settings.egress_proxy is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot read .*missing .No such file or directory.: make it, readable by user"),
        (b"", "is empty: put the secret into it"),
        (b" \n", "is empty: put the secret into it"),
        (b"\xff\xfehush", "is no text in UTF-8"),
        (b"hush" * 20_000, "has more than 65536 bytes"),
    ],
    ids=["missing", "empty", "blank", "binary", "large"],
)
def test_a_file_that_holds_no_secret_is_told_by_name_and_not_shown(
    monkeypatch, tmp_path, content, told
):
    file = tmp_path / "missing"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("MOMENTS_SECRET_KEY_FILE", str(file))
    with pytest.raises(UsageMistake, match=rf"^MOMENTS_SECRET_KEY_FILE: .*{told}") as refused:
        read_settings()
    assert "hush" not in str(refused.value)


def test_a_secret_that_is_set_both_ways_is_refused(monkeypatch, tmp_path):
    (tmp_path / "file").write_text(SECRET)
    monkeypatch.setenv("MOMENTS_TOKEN_SECRET", SECRET)
    monkeypatch.setenv("MOMENTS_TOKEN_SECRET_FILE", str(tmp_path / "file"))
    with pytest.raises(UsageMistake, match="MOMENTS_TOKEN_SECRET_FILE are both set") as refused:
        read_settings()
    assert SECRET not in str(refused.value)


def test_what_a_file_holds_is_checked_as_any_setting_is(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("too-short")
    monkeypatch.setenv("MOMENTS_ADMIN_KEY_FILE", str(tmp_path / "file"))
    with pytest.raises(UsageMistake, match=r"^MOMENTS_ADMIN_KEY: an API key begins with mk_"):
        read_settings()


def test_the_address_of_the_sockets_is_one_that_may_stand_in_a_policy(monkeypatch):
    monkeypatch.setenv("MOMENTS_SOCKET_URL", "")  # as Compose fills in what is not set
    assert read_settings().socket_url is None
    monkeypatch.setenv("MOMENTS_SOCKET_URL", "wss://push.example.com/v1/socket")
    assert read_settings().socket_url == "wss://push.example.com/v1/socket"
    for wrong in ("https://push.example.com", "wss://h/; script-src *", "wss://h\nx/v1/socket"):
        monkeypatch.setenv("MOMENTS_SOCKET_URL", wrong)
        with pytest.raises(UsageMistake, match=r"^MOMENTS_SOCKET_URL: "):
            read_settings()
