import dataclasses
import time
from datetime import datetime

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.tokens import TokenVerifier
from tests.api.conftest import Api, make_services, serve, user_token


async def test_a_token_opens_its_users_feed_until_it_expires(api: Api):
    answer = await api.admin.post("/v1/users/ann@example.com/tokens", json={"ttl_s": 60})
    assert answer.status_code == 201
    made = answer.json()
    expires = datetime.fromisoformat(made["expires_at"]).timestamp()
    assert 58 < expires - time.time() <= 60
    async with api.client(made["token"]) as client:
        assert (await client.get("/v1/users/ann@example.com/feed")).status_code == 200
        assert (await client.get("/v1/users/bob/feed")).status_code == 403
        moved = await client.put("/v1/users/ann@example.com/cursor", json={"offset": 0})
        assert moved.status_code == 200


async def test_a_token_lives_for_an_hour_unless_told_otherwise(api: Api):
    made = (await api.admin.post("/v1/users/ann/tokens")).json()
    expires = datetime.fromisoformat(made["expires_at"]).timestamp()
    assert 3_598 < expires - time.time() <= 3_600


async def test_without_a_secret_tokens_are_made_elsewhere(single_store):
    services = dataclasses.replace(make_services(single_store), token_secret=None)
    async with serve(services) as api:
        answer = await api.admin.post("/v1/users/ann/tokens", json={})
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:moments:problem:no-token-secret"


@pytest.mark.parametrize("algorithm", ["EdDSA", "RS256"])
async def test_a_token_made_elsewhere_opens_its_users_feed(single_store, algorithm: str):
    private = (
        Ed25519PrivateKey.generate()
        if algorithm == "EdDSA"
        else rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    services = make_services(single_store, tokens=TokenVerifier(public_key=public.decode()))
    token = jwt.encode({"sub": "bob", "exp": time.time() + 60}, private, algorithm=algorithm)
    async with serve(services) as api, api.client(token) as client:
        assert (await client.get("/v1/users/bob/feed")).status_code == 200
        assert (await client.get("/v1/users/ann/feed")).status_code == 403
        assert (await client.get("/v1/users/bob/friends")).status_code == 403
        async with api.client(user_token("bob")) as other:
            assert (await other.get("/v1/users/bob/feed")).status_code == 401
