import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from app.errors import BadToken, BadTokenKey, ExpiredToken
from app.tokens import LEEWAY_S, TOKEN_CHARS_MAX, Claims, TokenVerifier, make_token

SECRET = "a secret of more than 32 characters"


def pem(private_key):
    public = private_key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def token(key=SECRET, algorithm="HS256", **claims):
    return jwt.encode({"sub": "bob", "exp": time.time() + 60, **claims}, key, algorithm=algorithm)


def signed(payload: bytes, header: bytes = b'{"alg":"HS256"}') -> str:
    """A token with a good signature whose parts no library would make."""
    text = b".".join(jwt.utils.base64url_encode(part) for part in (header, payload))
    digest = jwt.get_algorithm_by_name("HS256").sign(text, SECRET.encode())
    return (text + b"." + jwt.utils.base64url_encode(digest)).decode()


@pytest.fixture
def verifier():
    return TokenVerifier(SECRET)


def test_a_token_made_here_holds_for_its_user_until_it_ends(verifier):
    made = make_token(SECRET, "bob@example.org", ttl_s=60, now_s=(now := int(time.time())))
    assert verifier.verify(made) == Claims("bob@example.org", now + 60)


@pytest.mark.parametrize("algorithm", ["EdDSA", "RS256"])
def test_a_token_made_elsewhere_holds_under_its_public_key(algorithm):
    private = (
        Ed25519PrivateKey.generate()
        if algorithm == "EdDSA"
        else rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    verifier = TokenVerifier(public_key=pem(private))
    assert verifier.verify(token(private, algorithm)).user == "bob"
    with pytest.raises(BadToken, match="signed with none of"):
        verifier.verify(token())


def test_both_kinds_of_key_may_be_set_up_at_once():
    private = Ed25519PrivateKey.generate()
    verifier = TokenVerifier(SECRET, pem(private))
    assert verifier.verify(token()).user == verifier.verify(token(private, "EdDSA")).user == "bob"


def test_a_public_key_is_never_taken_for_a_shared_secret():
    public = pem(Ed25519PrivateKey.generate())
    # The attack of RFC 8725, 2.1: sign with the public key's text as if it were an HMAC secret.
    # jwt.encode refuses to, so the signature is made by hand.
    head, body, _ = token().split(".")
    digest = jwt.get_algorithm_by_name("HS256").sign(f"{head}.{body}".encode(), public.encode())
    forged = f"{head}.{body}.{jwt.utils.base64url_encode(digest).decode()}"
    with pytest.raises(BadToken, match="signed with none of EdDSA"):
        TokenVerifier(public_key=public).verify(forged)


def made_with(key, kid=None, algorithm="HS256", **claims):
    header = None if kid is None else {"kid": kid}
    claims = {"sub": "bob", "exp": time.time() + 60, **claims}
    return jwt.encode(claims, key, algorithm=algorithm, headers=header)


OLD, NEW = "the old secret of 32 characters ...", "the new secret of 32 characters ..."
ED, OTHER_ED = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def test_a_kid_picks_the_key_and_no_other_is_tried():
    verifier = TokenVerifier(SECRET, named={"old": OLD, "new": NEW, "ed": pem(ED), "rsa": pem(RSA)})
    for key, kid, algorithm in [
        *((OLD, "old", "HS256"), (NEW, "new", "HS256")),
        *((ED, "ed", "EdDSA"), (RSA, "rsa", "RS256")),
    ]:
        assert verifier.verify(made_with(key, kid, algorithm)).user == "bob"
    for key in (NEW, SECRET):
        with pytest.raises(BadToken, match="the signature is not ours"):
            verifier.verify(made_with(key, "old"))


def test_without_a_kid_every_key_of_the_algorithm_is_tried_and_no_other():
    verifier = TokenVerifier(SECRET, pem(ED), {"old": OLD, "ed": pem(OTHER_ED)})
    for key in (SECRET, OLD):
        assert verifier.verify(made_with(key)).user == "bob"
    for key in (ED, OTHER_ED):
        assert verifier.verify(made_with(key, algorithm="EdDSA")).user == "bob"
    with pytest.raises(BadToken, match="signed with none of HS256, EdDSA"):
        verifier.verify(made_with(RSA, algorithm="RS256"))
    with pytest.raises(BadToken, match="the signature is not ours"):
        verifier.verify(made_with(NEW))


def test_what_a_token_says_counts_as_soon_as_one_key_has_signed_it():
    verifier = TokenVerifier(SECRET, named={"old": OLD})
    for key in (SECRET, OLD):
        with pytest.raises(ExpiredToken, match="expired"):
            verifier.verify(made_with(key, exp=time.time() - 60))


@pytest.mark.parametrize("kid", ["stranger", "", "old\0", "../old", "x" * 1_000])
def test_an_unknown_kid_is_refused(kid):
    with pytest.raises(BadToken, match="`kid` is that of none"):
        TokenVerifier(named={"old": OLD}).verify(made_with(OLD, kid))
    with pytest.raises(BadToken, match="the signature is not ours"):
        TokenVerifier(SECRET, named={"old": OLD}).verify(made_with(OLD, kid))


def test_a_kid_changes_nothing_where_keys_have_no_names():
    assert TokenVerifier(public_key=pem(ED)).verify(made_with(ED, "k1", "EdDSA")).user == "bob"


@pytest.mark.parametrize("kid", [7, ["old"], {"a": 1}, True])
def test_a_kid_that_is_no_text_is_refused(kid):
    header = json.dumps({"alg": "HS256", "kid": kid}).encode()
    with pytest.raises(BadToken, match="key id"):
        TokenVerifier(SECRET).verify(signed(b'{"sub":"bob","exp":9999999999}', header))


def test_a_kid_does_not_let_a_key_be_used_for_another_algorithm():
    verifier = TokenVerifier(named={"ed": pem(ED), "rsa": pem(RSA), "old": OLD})
    for kid in ("ed", "rsa"):
        head = jwt.utils.base64url_encode(b'{"alg":"HS256","kid":"%s"}' % kid.encode()).decode()
        body = token().split(".")[1]
        for public in (pem(ED), pem(RSA)):
            hmac = jwt.get_algorithm_by_name("HS256").sign(
                f"{head}.{body}".encode(), public.encode()
            )
            with pytest.raises(BadToken, match="signed with none of"):
                verifier.verify(f"{head}.{body}.{jwt.utils.base64url_encode(hmac).decode()}")
    for key, kid, algorithm in ((OLD, "ed", "HS256"), (ED, "old", "EdDSA"), (RSA, "ed", "RS256")):
        with pytest.raises(BadToken, match="signed with none of"):
            verifier.verify(made_with(key, kid, algorithm))
    for kid in ("ed", "rsa", "old"):
        with pytest.raises(BadToken, match="signed with none of"):
            verifier.verify(made_with(None, kid, "none"))


def test_one_secret_takes_the_place_of_another_without_a_cut():
    before = TokenVerifier(OLD, named={"new": NEW})  # everywhere, then one after the other
    after = TokenVerifier(NEW, named={"old": OLD})
    for made in (make_token(OLD, "bob", ttl_s=60), make_token(NEW, "bob", ttl_s=60)):
        assert before.verify(made).user == after.verify(made).user == "bob"
    with pytest.raises(BadToken, match="the signature is not ours"):
        TokenVerifier(NEW).verify(make_token(OLD, "bob", ttl_s=60))


def test_clocks_may_differ_by_the_leeway_and_no_more(verifier):
    assert verifier.verify(token(exp=time.time() - LEEWAY_S + 5)).user == "bob"
    assert verifier.verify(token(nbf=time.time() + LEEWAY_S - 5)).user == "bob"
    with pytest.raises(BadToken, match="expired"):
        verifier.verify(token(exp=time.time() - LEEWAY_S - 2))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (lambda: "", "segments"),
        (lambda: "a.b.c", "header"),
        (lambda: "é" * 10, "segments"),
        (lambda: "x" * (TOKEN_CHARS_MAX + 1), "longer than"),
        (lambda: token("another secret of 32 characters ..."), "signature is not ours"),
        (lambda: token(None, "none"), "signed with none of HS256"),
        (lambda: token(SECRET + SECRET, "HS512"), "signed with none of HS256"),
        (lambda: jwt.encode({"sub": "bob"}, SECRET), "`exp` is missing"),
        (lambda: jwt.encode({"exp": time.time() + 60}, SECRET), "`sub` is missing"),
        (lambda: "\ud800.a.b", "no character"),
        (lambda: token(exp="soon"), "exp"),
        (lambda: token(exp=10**400), "beyond the year 9999"),
        (lambda: token(exp=253_402_300_800), "beyond the year 9999"),
        (lambda: token(exp=float("inf")), "exp"),
        (lambda: token(exp=float("nan")), "exp"),
        (lambda: token(exp=None), "`exp` is missing"),
        (lambda: token(nbf=float("inf")), "nbf"),
        (lambda: token(iat=float("-inf")), "iat"),
        (lambda: token(sub=7), "subject must be a string"),
        (lambda: token(sub="\ud800"), "not a user id"),
        (lambda: signed(b"[" * 2_500), "recursion"),
        (lambda: signed(b"[]"), "object"),
        (lambda: signed(b'{"sub":"bob\xff"}'), "payload"),
        (lambda: signed(b"{}", header=b'{"alg":"HS256","a":' + b"[" * 2_500), "header"),
        (lambda: signed(b"{}", header=b'{"alg":["HS256"]}'), "signed with none of HS256"),
        (lambda: signed(b"{}", header=b'{"alg":"HS256","crit":["x"],"x":1}'), "critical"),
        (lambda: token(sub="two words"), "not a user id"),
        (lambda: token(sub=""), "not a user id"),
        (lambda: token(nbf=time.time() + 90), "not yet valid"),
        (lambda: token(aud="another service"), "audience"),
    ],
)
def test_a_token_that_does_not_hold_says_why(verifier, bad, reason):
    with pytest.raises(BadToken, match=reason):
        verifier.verify(bad())


def test_a_token_is_never_quoted_in_the_reason(verifier):
    bad = token("another secret of 32 characters ...")
    with pytest.raises(BadToken) as raised:
        verifier.verify(bad)
    assert not any(part in str(raised.value) for part in bad.split("."))
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    "key",
    [
        "not a key",
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)),
        Ed25519PrivateKey.generate()
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode(),
    ],
    ids=["no PEM", "elliptic curve", "short RSA", "private"],
)
def test_a_key_that_cannot_be_used_is_refused_at_the_start(key):
    with pytest.raises(BadTokenKey) as refused:
        TokenVerifier(public_key=key)
    assert refused.value.setting == "token_public_key"
    if "BEGIN" in key:
        with pytest.raises(BadTokenKey, match=r"^mine: ") as refused:
            TokenVerifier(named={"mine": key})
        assert refused.value.setting == "token_keys"


@pytest.mark.parametrize("space", ["", "\n", " "])
def test_a_public_key_is_refused_as_a_secret_and_known_by_its_form_as_a_named_key(space):
    with pytest.raises(BadTokenKey, match="no secret to share"):
        TokenVerifier(space + pem(ED))
    assert TokenVerifier(named={"ed": space + pem(ED)}).verify(made_with(ED, "ed", "EdDSA"))
