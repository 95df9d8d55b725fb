"""Secrets at rest: AES-GCM under a key that is not in the store.

    sealed = version (1 byte) | key id (8) | nonce (12) | ciphertext and tag (16 more than the text)

The header and the owner's id are authenticated with the text, so that what was sealed for one
endpoint does not open for another.
"""

import os
from base64 import b64decode
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.errors import BadSealingKey, BrokenSeal, SealedByAnotherKey

KEY_BYTES = 32

_VERSION = b"\x01"
_KEY_ID_BYTES = 8
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEADER_BYTES = len(_VERSION) + _KEY_ID_BYTES
_SEALED_BYTES_MIN = _HEADER_BYTES + _NONCE_BYTES + _TAG_BYTES


class Sealer:
    """Seals with its first key and opens what any of its keys has sealed.

    To rotate: put the new key before the old one, let everything be sealed again, take the old
    one away. Nonces are random, which is safe for 2^32 seals under one key (NIST SP 800-38D).
    """

    __slots__ = ("_ciphers", "_first")

    def __init__(self, *keys: bytes) -> None:
        """Raises `BadSealingKey` unless there is a key and each has 32 bytes."""
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise BadSealingKey(f"give at least one key, each of {KEY_BYTES} bytes")
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._first = _key_id(keys[0])

    @classmethod
    def from_base64(cls, text: str, older: str = "") -> "Sealer":
        """From keys in base64, comma-separated, the one to seal with first; `older` may be empty.

        Raises `BadSealingKey`.
        """
        parts = [*text.split(","), *filter(None, older.split(","))]
        try:
            keys = [b64decode(part.strip(), validate=True) for part in parts]
        except ValueError:
            # The cause is left out: its message may quote what it was given.
            raise BadSealingKey(f"a key is {KEY_BYTES} bytes in base64") from None
        return cls(*keys)

    def seal(self, plain: bytes, owner: bytes) -> bytes:
        """`plain` encrypted for the endpoint id `owner`; different every time."""
        header = _VERSION + self._first
        nonce = os.urandom(_NONCE_BYTES)
        return header + nonce + self._ciphers[self._first].encrypt(nonce, plain, header + owner)

    def is_newest(self, sealed: bytes) -> bool:
        """Whether this was sealed, as far as its header says, with the key that seals now."""
        return sealed[:_HEADER_BYTES] == _VERSION + self._first

    def open(self, sealed: bytes, owner: bytes) -> bytes:
        """What `seal` was given.

        Raises `SealedByAnotherKey`, or `BrokenSeal` when the bytes or the owner are not those.
        """
        if len(sealed) < _SEALED_BYTES_MIN or sealed[:1] != _VERSION:
            raise BrokenSeal("these bytes were not sealed by this service")
        header, nonce = sealed[:_HEADER_BYTES], sealed[_HEADER_BYTES:][:_NONCE_BYTES]
        cipher = self._ciphers.get(header[len(_VERSION) :])
        if cipher is None:
            raise SealedByAnotherKey("the key these bytes were sealed with is not configured")
        try:
            return cipher.decrypt(nonce, sealed[_HEADER_BYTES + _NONCE_BYTES :], header + owner)
        except InvalidTag:
            raise BrokenSeal("the sealed bytes were changed, or belong to another owner") from None


def _key_id(key: bytes) -> bytes:
    """Tells keys apart without telling anything of them."""
    return sha256(b"moments sealing key\0" + key).digest()[:_KEY_ID_BYTES]
