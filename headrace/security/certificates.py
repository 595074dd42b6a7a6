"""An authority for one machine: what a secured platform of our own needs, as PEM files that only its user can read.

A company has an authority already; this one is for laptops and tests. Its key stays in its folder.
"""

import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from headrace.platform.files import write_atomic

_YEARS = 10
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files; `both` has the two in one, as Kafka's PEM key stores do."""

    certificate: Path
    key: Path
    both: Path


class Authority:
    """Signs certificates. Made in `folder` unless it is there already.

    Args:
        folder: its files; made with mode 700.
        name: its common name.
    """

    def __init__(self, folder: Path, name: str = "Headrace on this machine") -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.file = folder / "authority.crt"
        """Whom to trust."""
        key_file = folder / "authority.key"
        if self.file.exists() and key_file.exists():
            self._key = _load(key_file)
            self._name = x509.load_pem_x509_certificate(self.file.read_bytes()).subject
            return
        self._key, self._name = ec.generate_private_key(ec.SECP256R1()), _named(name)
        made = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        write_private(key_file, _pem(self._key))
        write_private(self.file, made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def pair(self, name: str, hosts: Sequence[str] = _LOCAL) -> Pair:
        """The certificate of `name`, made if it is not there: for servers at `hosts`, and for clients."""
        found = Pair(*(self._folder / f"{name}.{ending}" for ending in ("crt", "key", "pem")))
        if not found.both.exists():
            self._sign(found, name, hosts)
        return found

    def _sign(self, pair: Pair, name: str, hosts: Sequence[str]) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        made = (
            self._builder(_named(name), key)
            .add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False)
            .add_extension(usages, critical=False)
            .sign(self._key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )
        write_private(pair.key, _pem(key))
        write_private(pair.certificate, made)
        write_private(pair.both, _pem(key) + made + self.file.read_bytes())  # last: it says that the others are there

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=365 * _YEARS))
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path}: not an elliptic curve's key")
    return key


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its user can read; whole or not at all."""
    before = os.umask(0o077)
    try:
        write_atomic(path, content)
    finally:
        os.umask(before)
