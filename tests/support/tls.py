"""TLS contexts for the stand-in of vAptekeSync: one that clients should trust, and one for each fault of a real one."""

import ssl
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_DNS, _IP = "localhost", "127.0.0.1"
_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


def authority_file(folder: Path) -> str:
    """PEM file of who has signed the certificates that are not self-signed."""
    file = folder / "authority.pem"
    _authority().cert_pem.write_to_path(file)
    return str(file)


@dataclass(frozen=True)
class Offer:
    """What a server shows."""

    names: tuple[str, ...] = (_DNS,)
    expired: bool = False
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2


OFFERS = {
    "trusted": Offer(),
    "trusted by address": Offer((_IP,)),
    "another name": Offer(("elsewhere.example.com",)),
    "expired": Offer(expired=True),
    "TLS 1.0": Offer(version=ssl.TLSVersion.TLSv1),
    "TLS 1.1": Offer(version=ssl.TLSVersion.TLSv1_1),
}


@cache
def context(kind: str) -> ssl.SSLContext:
    """`kind` is one of OFFERS, or "self-signed", as SQL Server has it until it is given a certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.maximum_version = ssl.TLSVersion.TLSv1_2  # TDS 7 knows no later one
    if kind == "self-signed":
        _load(made, _self_signed())
        return made
    offer = OFFERS[kind]
    ends = _LONG_AGO + timedelta(days=9) if offer.expired else None
    issued = _authority().issue_cert(*offer.names, not_before=_LONG_AGO, not_after=ends)
    issued.configure_cert(made)
    if offer.version < ssl.TLSVersion.TLSv1_2:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            made.set_ciphers("ALL:@SECLEVEL=0")
            made.minimum_version = made.maximum_version = offer.version
    return made


def _self_signed() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "SSL_Self_Signed_Fallback")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return certificate + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load(made: ssl.SSLContext, pem: bytes) -> None:
    """The standard library loads keys from files alone."""
    with trustme.Blob(pem).tempfile() as file:
        made.load_cert_chain(file)
