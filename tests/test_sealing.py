"""Sealing: what goes in comes out, and nothing that was touched opens."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadSealingKey, BrokenSeal, MomentsError, SealedByAnotherKey
from app.sealing import Sealer

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
OWNER = b"0123456701"
SEALED = Sealer(KEY).seal(b"whsec_secret", OWNER)


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_what_was_sealed_opens_for_its_owner(plain, owner):
    assert Sealer(KEY).open(Sealer(KEY).seal(plain, owner), owner) == plain


def test_the_secret_cannot_be_seen_and_is_sealed_differently_every_time():
    assert b"whsec_secret" not in SEALED
    assert b"whsec" not in SEALED
    assert Sealer(KEY).seal(b"whsec_secret", OWNER) != SEALED


def test_bytes_sealed_by_the_first_release_still_open():
    sealed = bytes.fromhex(
        "0107e8cb3efec61cee399fdf255c716fe3ba4a20937ad8b203677088dbf0144a"
        "0281cacd642864565c418253c21781fc98"
    )
    assert Sealer(KEY).open(sealed, OWNER) == b"whsec_secret"


def test_it_does_not_open_for_another_owner():
    with pytest.raises(BrokenSeal):
        Sealer(KEY).open(SEALED, b"0123456702")


@pytest.mark.parametrize("position", range(len(SEALED)))
def test_no_byte_can_be_changed(position):
    changed = bytearray(SEALED)
    changed[position] ^= 1
    with pytest.raises(SealedByAnotherKey if 1 <= position <= 8 else BrokenSeal):
        Sealer(KEY).open(bytes(changed), OWNER)


@pytest.mark.parametrize("length", range(len(SEALED)))
def test_nothing_can_be_cut_off(length):
    with pytest.raises(BrokenSeal):
        Sealer(KEY).open(SEALED[:length], OWNER)


@given(st.binary(max_size=100))
def test_foreign_bytes_are_refused_and_nothing_else_happens(raw):
    with pytest.raises((BrokenSeal, SealedByAnotherKey)):
        Sealer(KEY).open(raw, OWNER)


def test_another_key_is_told_from_broken_bytes():
    with pytest.raises(SealedByAnotherKey) as caught:
        Sealer(OTHER_KEY).open(SEALED, OWNER)
    assert isinstance(caught.value, MomentsError)


def test_the_first_key_seals_and_all_open():
    rotating = Sealer(OTHER_KEY, KEY)
    assert rotating.open(SEALED, OWNER) == b"whsec_secret"
    sealed_again = rotating.seal(b"whsec_secret", OWNER)
    assert Sealer(OTHER_KEY).open(sealed_again, OWNER) == b"whsec_secret"
    with pytest.raises(SealedByAnotherKey):
        Sealer(KEY).open(sealed_again, OWNER)


def test_keys_come_in_base64_one_or_several():
    one, other = b64encode(KEY).decode(), b64encode(OTHER_KEY).decode()
    assert Sealer.from_base64(one).open(SEALED, OWNER) == b"whsec_secret"
    assert Sealer.from_base64(f"{other}, {one}\n").open(SEALED, OWNER) == b"whsec_secret"
    with pytest.raises(SealedByAnotherKey):
        Sealer.from_base64(other).open(SEALED, OWNER)


@pytest.mark.parametrize(
    "text", ["", ",", "short", "ä" * 44, "*" * 44, b64encode(KEY[1:]).decode()]
)
def test_a_key_that_is_not_32_bytes_in_base64_is_refused_without_being_told(text):
    with pytest.raises(BadSealingKey) as caught:
        Sealer.from_base64(text)
    assert isinstance(caught.value, ValueError)
    assert len(text) < 2 or text not in str(caught.value)


@pytest.mark.parametrize("keys", [(), (b"",), (KEY, KEY[1:]), (KEY + KEY,)])
def test_keys_of_another_length_and_none_at_all_are_refused(keys):
    with pytest.raises(BadSealingKey):
        Sealer(*keys)
