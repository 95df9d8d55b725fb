"""Certificates for tests: an authority made on the spot, and servers that it vouches for."""

import datetime
import ssl
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)


class Authority:
    """Signs certificates; `ca_file` is what a client has to trust."""

    def __init__(self, folder: Path, name: str = "authority of the tests") -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._serial = 1
        self.ca_file = folder / f"{name}.pem"
        root = (
            self._blank(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file.write_bytes(root.public_bytes(serialization.Encoding.PEM))

    def server_context(self, *names: str, is_expired: bool = False) -> ssl.SSLContext:
        """A server's context with a certificate for these names and addresses."""
        names_of = x509.SubjectAlternativeName(map(_general_name, names))
        file = self._issue("server", names_of, -_DAY if is_expired else _DAY)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def client_file(self, name: str, passphrase: bytes | None = None) -> Path:
        """A certificate by which a client tells who it is, and its key, in one file."""
        return self._issue(name, None, passphrase=passphrase)

    def _issue(
        self,
        name: str,
        names: x509.SubjectAlternativeName | None,
        valid: datetime.timedelta = _DAY,
        passphrase: bytes | None = None,
    ) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        blank = self._blank(subject, key.public_key(), valid)
        if names is not None:
            blank = blank.add_extension(names, critical=False)
        leaf = blank.sign(self._key, hashes.SHA256())
        pem = serialization.Encoding.PEM
        locked = (
            serialization.BestAvailableEncryption(passphrase)
            if passphrase
            else serialization.NoEncryption()
        )
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, locked)
        file = self._folder / f"{name}-{self._serial}.pem"
        file.write_bytes(leaf.public_bytes(pem) + private)
        return file

    def _blank(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, valid: datetime.timedelta = _DAY
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        self._serial += 1
        return (
            x509.CertificateBuilder()
            .issuer_name(self._name)
            .subject_name(subject)
            .public_key(key)
            .serial_number(self._serial)
            .not_valid_before(now - 2 * _DAY)
            .not_valid_after(now + valid)
        )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
