"""Ed25519: whoever has the public key of an endpoint can check its webhooks, and make none."""

from base64 import b64decode
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.flows.service import Service
from tests.receivers import Receiver
from tests.wait import wait_until


def signatures_of(request: Any) -> list[str]:
    return request.headers["webhook-signature"].split(" ")


def is_signed_for(public_key: str, request: Any) -> bool:
    """As the scheme says, with nothing of this service."""
    key = Ed25519PublicKey.from_public_bytes(b64decode(public_key.removeprefix("whpk_")))
    id_, timestamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    text = f"{id_}.{timestamp}.".encode() + request.body
    for signature in signatures_of(request):
        version, _, value = signature.partition(",")
        assert version == "v1a"
        try:
            key.verify(b64decode(value), text)
        except InvalidSignature:
            continue
        return True
    return False


async def test_posts_and_pings_are_signed_for_the_public_key(service: Service, receiver: Receiver):
    await service.befriend(("alice", "bob"))
    endpoint = await service.register("bob", receiver.url, signing="ed25519")
    assert endpoint["secret"] is None
    post = await service.post("alice")
    await service.settled(post["id"], "bob", "delivered")
    assert (await service.call("POST", f"/endpoints/{endpoint['id']}:ping"))["status"] == 200
    assert len(receiver.requests) == 2
    for request in receiver.requests:
        assert len(signatures_of(request)) == 1
        assert is_signed_for(endpoint["public_key"], request)


async def test_both_keys_sign_until_the_overlap_ends(service: Service, receiver: Receiver):
    endpoint = await service.register("bob", receiver.url, signing="ed25519")
    path = f"/endpoints/{endpoint['id']}"
    first = endpoint["public_key"]
    second = (await service.call("POST", f"{path}/secret:rotate", {"overlap_s": 60}))["public_key"]

    async def signed_for(*keys: str) -> bool:
        answer = await service.http.post(f"/v1{path}:ping")  # 503 until there is a sender
        if not answer.is_success or len(signatures_of(receiver.requests[-1])) != len(keys):
            return False
        return all(is_signed_for(key, receiver.requests[-1]) for key in keys)

    await wait_until(lambda: signed_for(first, second))
    third = (await service.call("POST", f"{path}/secret:rotate", {"overlap_s": 0}))["public_key"]
    await wait_until(lambda: signed_for(third))
    assert not is_signed_for(first, receiver.requests[-1])
    assert not is_signed_for(second, receiver.requests[-1])
    assert len({first, second, third}) == 3
