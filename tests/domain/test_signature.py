"""Signatures against the published vectors, the `standardwebhooks` package and forged requests."""

import hmac
import json
import os
from base64 import b64decode, b64encode
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from app.domain.signature import (
    SECRET_TEXT,
    SIGNATURES_MAX,
    Ed25519Signer,
    Signer,
    Verdict,
    decode_key,
    decode_secret,
    new_secret,
    new_signing_key,
    sign_with,
    signing_of,
    verify,
)
from app.errors import BadSecret, MomentsError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors.json").read_text())
HMAC, ED25519 = VECTORS["hmac"], VECTORS["ed25519"]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
NOW_S = 1_614_265_330
BODY = b'{"test": 2432232314}'

keys = st.binary(min_size=1, max_size=200)


def signed(*secrets: str, body: bytes = BODY, at_s: int = NOW_S, id_: str = "msg_1") -> dict:
    signer = Signer([decode_key(secret) for secret in secrets])
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(at_s),
        "webhook-signature": signer.sign(id_.encode(), str(at_s).encode(), body).decode(),
    }


def headers_of(vector: dict) -> dict:
    return {
        "webhook-id": vector["id"],
        "webhook-timestamp": str(vector["timestamp"]),
        "webhook-signature": vector["signature"],
    }


# Signing


@pytest.mark.parametrize("vector", HMAC, ids=lambda vector: vector["id"])
def test_the_published_hmac_vectors_are_reproduced(vector):
    signer = Signer([decode_key(vector["secret"])])
    signature = signer.sign(
        vector["id"].encode(), str(vector["timestamp"]).encode(), vector["body"].encode()
    )
    assert signature.decode() == vector["signature"]


@pytest.mark.parametrize("vector", ED25519, ids=lambda vector: vector["id"])
def test_the_published_ed25519_vector_is_reproduced(vector):
    signer = Ed25519Signer(vector["secret"])
    signature = signer.sign(
        vector["id"].encode(), str(vector["timestamp"]).encode(), vector["body"].encode()
    )
    assert signature.decode() == vector["signature"]
    assert signer.public_key == vector["public"]


@pytest.mark.parametrize("vector", HMAC + ED25519, ids=lambda vector: vector["signature"][:12])
def test_what_signs_follows_from_the_kind_of_the_secret(vector):
    signature = sign_with([vector["secret"]])(
        vector["id"].encode(), str(vector["timestamp"]).encode(), vector["body"].encode()
    )
    assert signature.decode() == vector["signature"]


@given(st.lists(st.sampled_from([new_secret, new_signing_key]), min_size=1, max_size=6))
def test_secrets_of_both_kinds_sign_together(kinds):
    secrets = [make(os.urandom) for make in kinds]
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(NOW_S)}
    signature = sign_with(secrets)(b"msg_1", str(NOW_S).encode(), BODY).decode()
    assert len(signature.split(" ")) == len(secrets)
    for secret in secrets:
        checks = secret if signing_of(secret) == "hmac" else Ed25519Signer(secret).public_key
        assert verify(checks, {**headers, "webhook-signature": signature}, BODY, NOW_S)


def test_without_a_secret_nothing_signs():
    with pytest.raises(BadSecret):
        sign_with([])


def test_a_new_signing_key_holds_the_seed_and_its_public_half():
    key = new_signing_key(lambda size: bytes(range(size)))
    raw = b64decode(key.removeprefix("whsk_"))
    assert (len(raw), raw[:32]) == (64, bytes(range(32)))
    assert Ed25519Signer(key).public_key == "whpk_" + b64encode(raw[32:]).decode()


@given(st.lists(keys, min_size=1, max_size=10), st.binary(max_size=300))
def test_every_live_secret_signs_by_the_rule_of_hmac_sha256(secrets, body):
    header = Signer(secrets).sign(b"msg_1", b"1614265330", body)
    text = b"msg_1.1614265330." + body
    assert header.split(b" ") == [
        b"v1," + b64encode(hmac.digest(secret, text, "sha256")) for secret in secrets
    ]


def test_a_signer_signs_the_same_text_the_same_way_again():
    signer = Signer([b"k" * 32])
    first = signer.sign(b"a", b"1", b"body")
    assert signer.sign(b"b", b"1", b"body") != first
    assert signer.sign(b"a", b"1", b"body") == first


@pytest.mark.parametrize("secrets", [[], [b""], [b"k" * 32, b""]])
def test_nothing_can_be_signed_without_a_secret(secrets):
    with pytest.raises(BadSecret):
        Signer(secrets)


def test_the_standard_verifier_takes_our_signature_by_the_old_and_the_new_secret():
    now_s = int(datetime.now(tz=UTC).timestamp())
    old, new = new_secret(os.urandom), new_secret(os.urandom)
    body = '{"text":"größer, 更大"}'.encode()
    headers = signed(new, old, body=body, at_s=now_s)
    assert Webhook(new).verify(body, headers) == {"text": "größer, 更大"}
    assert Webhook(old).verify(body, headers) == {"text": "größer, 更大"}
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret(os.urandom)).verify(body, headers)


# Secrets


def test_a_new_secret_is_of_a_length_the_scheme_allows():
    secret = new_secret(os.urandom)
    assert secret.startswith("whsec_")
    assert len(decode_secret(secret)) == 32
    assert secret != new_secret(os.urandom)


@pytest.mark.parametrize("length", [24, 25, 26, 64])
def test_a_secret_may_come_without_prefix_and_without_padding(length):
    key = bytes(range(length))
    padded = b64encode(key).decode()
    for text in (padded, padded.rstrip("="), f"whsec_{padded}", f"whsec_{padded}".rstrip("=")):
        assert decode_secret(text) == key


@pytest.mark.parametrize("length", [1, 18, 23, 65, 200])
def test_a_secret_of_another_length_is_refused_but_can_be_signed_with(length):
    text = "whsec_" + b64encode(b"k" * length).decode()
    with pytest.raises(BadSecret, match=f"{length} bytes"):
        decode_secret(text)
    assert verify(text, signed(text), BODY, NOW_S) is Verdict.VALID


@pytest.mark.parametrize(
    "text", ["", "whsec_", "whsec_a", "whsec_a*bc", "whsec_ab=c", "whsec_äöüß", " " + SECRET, "="]
)
def test_a_secret_that_cannot_be_read_is_refused_without_being_told(text):
    with pytest.raises(BadSecret) as caught:
        decode_key(text)
    assert isinstance(caught.value, MomentsError)
    assert isinstance(caught.value, ValueError)
    assert caught.value.__cause__ is None
    assert text.strip("=") == "" or text not in str(caught.value)


@pytest.mark.parametrize(("length", "surplus"), [(24, "="), (24, "===="), (63, "=="), (25, "=")])
def test_padding_that_nothing_asks_for_is_refused(length: int, surplus: str):
    with pytest.raises(BadSecret):
        decode_secret("whsec_" + b64encode(b"k" * length).decode() + surplus)


@pytest.mark.parametrize("length", range(22, 67))
@pytest.mark.parametrize("padding", ["", "=", "==", "==="])
def test_the_shape_of_a_secret_is_told_as_it_is_read(length: int, padding: str):
    text = "whsec_" + b64encode(b"k" * length).decode().rstrip("=") + padding
    try:
        decode_secret(text)
    except BadSecret:
        assert not SECRET_TEXT.fullmatch(text)
    else:
        assert SECRET_TEXT.fullmatch(text)


@given(st.text(max_size=80) | st.binary(max_size=80).map(lambda key: b64encode(key).decode()))
def test_any_text_either_is_a_secret_of_an_allowed_length_or_is_refused(text):
    with suppress(BadSecret):
        assert 24 <= len(decode_secret(text)) <= 64


@pytest.mark.parametrize(
    "key",
    [
        "whsk_" + b64encode(b"k" * 31).decode(),
        "whsk_" + b64encode(b"k" * 64).decode(),
        "whsk_" + b64encode(b"k" * 65).decode(),
        "whsk_?",
        "whsk_",
    ],
)
def test_a_signing_key_of_wrong_length_or_of_two_keys_halves_is_refused(key):
    with pytest.raises(BadSecret):
        Ed25519Signer(key)


def test_a_signing_key_may_be_the_seed_alone():
    whole = ED25519[0]["secret"]
    seed = "whsk_" + b64encode(b64decode(whole.removeprefix("whsk_"))[:32]).decode()
    assert Ed25519Signer(seed).public_key == ED25519[0]["public"]


# Verifying


@pytest.mark.parametrize("vector", HMAC, ids=lambda vector: vector["id"])
def test_the_published_hmac_vectors_verify(vector):
    body = vector["body"].encode()
    verdict = verify(vector["secret"], headers_of(vector), body, vector["timestamp"])
    assert verdict is Verdict.VALID


@pytest.mark.parametrize("vector", ED25519, ids=lambda vector: vector["id"])
def test_the_published_ed25519_vector_verifies_and_nothing_near_it_does(vector):
    body, headers, at_s = vector["body"].encode(), headers_of(vector), vector["timestamp"]
    assert verify(vector["public"], headers, body, at_s) is Verdict.VALID
    assert verify(vector["public"], headers, body + b" ", at_s) is Verdict.NO_MATCH
    for signature in ("v1a,", "v1a,!", "v1a," + "A" * 86 + "==", vector["signature"][:-4], "v1a"):
        forged = {**headers, "webhook-signature": signature}
        assert verify(vector["public"], forged, body, at_s) is Verdict.NO_MATCH


def test_a_public_key_of_wrong_length_is_refused():
    with pytest.raises(BadSecret):
        verify("whpk_" + b64encode(b"k" * 31).decode(), signed(SECRET), BODY, NOW_S)


def test_only_the_valid_verdict_is_true():
    assert [verdict for verdict in Verdict if verdict] == [Verdict.VALID]


@pytest.mark.parametrize("secret", [SECRET, SECRET.removeprefix("whsec_")])
def test_the_receivers_secret_may_come_with_and_without_prefix(secret):
    assert verify(secret, signed(SECRET), BODY, NOW_S) is Verdict.VALID


def test_an_unpadded_secret_verifies():
    padded = "whsec_" + b64encode(b"k" * 25).decode()
    assert padded.endswith("=")
    assert verify(padded.rstrip("="), signed(padded), BODY, NOW_S) is Verdict.VALID


@pytest.mark.parametrize("secret", ["", "whsec_"])
def test_an_empty_secret_verifies_nothing(secret):
    with pytest.raises(BadSecret):
        verify(secret, signed(SECRET), BODY, NOW_S)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_of_the_three_headers_is_needed(name):
    headers = signed(SECRET)
    assert verify(SECRET, {**headers, name: ""}, BODY, NOW_S) is Verdict.HEADER_MISSING
    del headers[name]
    assert verify(SECRET, headers, BODY, NOW_S) is Verdict.HEADER_MISSING


def test_names_of_headers_may_be_in_any_case():
    headers = {name.title(): value for name, value in signed(SECRET).items()}
    assert verify(SECRET, headers, BODY, NOW_S) is Verdict.VALID


@pytest.mark.parametrize(
    "timestamp",
    [
        "hello",
        "-1",
        "+1614265330",
        "1614265330.0",
        " 1614265330",
        "1_6",
        "\uff11\uff16",
        "9" * 5000,
        "nan",
    ],
)
def test_a_timestamp_that_is_no_unix_time_is_refused(timestamp):
    headers = {**signed(SECRET), "webhook-timestamp": timestamp}
    assert verify(SECRET, headers, BODY, NOW_S) is Verdict.TIMESTAMP_BAD


@pytest.mark.parametrize(
    ("age_s", "verdict"),
    [
        (301, Verdict.TOO_OLD),
        (300, Verdict.VALID),
        (-300, Verdict.VALID),
        (-301, Verdict.TOO_NEW),
    ],
)
def test_five_minutes_either_way_are_tolerated(age_s, verdict):
    assert verify(SECRET, signed(SECRET), BODY, NOW_S + age_s) is verdict


def test_the_tolerance_can_be_chosen():
    assert verify(SECRET, signed(SECRET), BODY, NOW_S + 11, tolerance_s=10) is Verdict.TOO_OLD
    assert verify(SECRET, signed(SECRET), BODY, NOW_S + 10, tolerance_s=10) is Verdict.VALID


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-timestamp": str(NOW_S + 1)},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1"},
        {"webhook-signature": ","},
        {"webhook-signature": " "},
        {"webhook-signature": "v1," + "A" * 43 + "="},
        {"webhook-signature": signed(OTHER_SECRET)["webhook-signature"]},
        {"webhook-signature": signed(SECRET)["webhook-signature"][:-5]},
        {"webhook-signature": signed(SECRET)["webhook-signature"].rstrip("=")},
        {"webhook-signature": signed(SECRET)["webhook-signature"].removeprefix("v1,")},
        {"webhook-signature": signed(SECRET)["webhook-signature"].replace("v1,", "v2,")},
        {"webhook-signature": signed(SECRET)["webhook-signature"].replace("v1,", "v1a,")},
    ],
)
def test_a_forged_header_does_not_match(change):
    assert verify(SECRET, {**signed(SECRET), **change}, BODY, NOW_S) is Verdict.NO_MATCH


def test_a_changed_body_does_not_match():
    assert verify(SECRET, signed(SECRET), BODY + b" ", NOW_S) is Verdict.NO_MATCH


def test_one_valid_signature_in_a_list_with_unknown_versions_is_enough():
    headers = signed(SECRET)
    ours = headers["webhook-signature"]
    wrong = signed(OTHER_SECRET)["webhook-signature"]
    headers["webhook-signature"] = f"v2,AAAA v1a,AAAA {wrong} {ours}"
    assert verify(SECRET, headers, BODY, NOW_S) is Verdict.VALID


def test_a_signature_behind_more_than_any_sender_sends_is_not_looked_at():
    headers = signed(SECRET)
    ours = headers["webhook-signature"]
    headers["webhook-signature"] = "v1,AAAA " * (SIGNATURES_MAX - 1) + ours
    assert verify(SECRET, headers, BODY, NOW_S) is Verdict.VALID
    headers["webhook-signature"] = "v1,AAAA " * SIGNATURES_MAX + ours
    assert verify(SECRET, headers, BODY, NOW_S) is Verdict.NO_MATCH


def test_a_body_beyond_ascii_verifies():
    body = '{"text":"größer, 更大, 😀"}'.encode()
    assert verify(SECRET, signed(SECRET, body=body), body, NOW_S) is Verdict.VALID
    assert verify(SECRET, signed(SECRET, body=b"\xff\x00"), b"\xff\x00", NOW_S) is Verdict.VALID


@given(st.dictionaries(st.sampled_from([*signed(SECRET)]), st.text(), max_size=3), st.binary())
def test_no_header_and_no_body_makes_verifying_raise_or_pass(headers, body):
    assert not verify(SECRET, {**signed(OTHER_SECRET), **headers}, body, NOW_S)
    assert not verify(ED25519[0]["public"], {**signed(OTHER_SECRET), **headers}, body, NOW_S)


@pytest.mark.parametrize("value", ["ä", "\udcff", "更大", "v1,ä"])
def test_headers_beyond_ascii_are_judged_like_any_other(value):
    headers = signed(SECRET)
    assert not verify(SECRET, {**headers, "webhook-signature": value}, BODY, NOW_S)
    assert not verify(SECRET, {**headers, "webhook-id": value}, BODY, NOW_S)
    assert not verify(SECRET, {**headers, "webhook-timestamp": value}, BODY, NOW_S)
