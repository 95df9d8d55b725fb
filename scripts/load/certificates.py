"""Certificates for https receivers: an authority of the run's own, and one certificate for all."""

import datetime
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)


def make_certificates(directory: Path, addresses: Sequence[str]) -> tuple[Path, Path]:
    """The authority to trust, and the certificate for these addresses with its key; both PEM."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _name("authority of a load test")
    root = (
        _blank(authority, authority, authority_key, serial=1)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(one)) for one in addresses])
    leaf = (
        _blank(authority, _name("receiver"), key, serial=2)
        .add_extension(names, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    trusted, served = directory / "authority.pem", directory / "receiver.pem"
    trusted.write_bytes(root.public_bytes(pem))
    served.touch(mode=0o600)
    served.write_bytes(leaf.public_bytes(pem) + private)
    return trusted, served


def _name(words: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, words)])


def _blank(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, serial: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )
