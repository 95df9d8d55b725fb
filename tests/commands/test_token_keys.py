import asyncio

import pytest

from app.commands.gateway import run_gateway
from app.commands.token_keys import make_verifier
from app.errors import CommandFailed
from app.settings import Settings
from app.tokens import make_token

SECRET = "a secret of more than 32 characters"
PEM = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"


def test_every_setting_with_a_key_brings_one():
    for given in ({"token_secret": SECRET}, {"token_keys": {"one": SECRET}}):
        verifier = make_verifier(Settings(**given))
        assert verifier.verify(make_token(SECRET, "bob", ttl_s=60)).user == "bob"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"token_public_key": "hush"}, "MOMENTS_TOKEN_PUBLIC_KEY: this is not a PEM public key"),
        ({"token_secret": PEM}, "MOMENTS_TOKEN_SECRET: this is a PEM key, and no secret to share"),
        ({"token_keys": {"a": PEM}}, "MOMENTS_TOKEN_KEYS: a: this is not a PEM public key"),
    ],
)
def test_a_key_that_cannot_be_used_is_a_line_that_names_its_setting(given, told):
    with pytest.raises(CommandFailed) as refused:
        make_verifier(Settings(**given))
    assert str(refused.value) == told


async def test_a_gateway_without_any_key_does_not_start():
    with pytest.raises(CommandFailed, match="MOMENTS_TOKEN_KEYS is set: without one"):
        await run_gateway(Settings(), asyncio.Event())
