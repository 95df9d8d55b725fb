import json

import pytest

from app.commands.environment import read_settings
from app.errors import UsageMistake

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
