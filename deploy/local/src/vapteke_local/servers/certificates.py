"""Certificates for servers on 127.0.0.1. Each call of `issue` makes a new authority and replaces the last one's file.

So a client must trust the `authority.pem` of the current start. The authority's private key is kept nowhere.
"""

from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

NAME = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Certificates:
    authority: Path
    """The authority's certificate as a PEM file, for clients."""
    server: str
    """Key and certificate chain in PEM. Each server writes them to a file that only it can read."""


def issue(folder: Path) -> Certificates:
    authority = trustme.CA()
    file = folder / "authority.pem"
    authority.cert_pem.write_to_path(file)
    issued = authority.issue_cert(NAME)
    pem = b"".join([_pkcs8(issued.private_key_pem.bytes()), *(blob.bytes() for blob in issued.cert_chain_pems)])
    return Certificates(authority=file, server=pem.decode())


def _pkcs8(key: bytes) -> bytes:
    """Converts a private key in PEM, without a password, to PKCS #8 in PEM, which Java can read."""
    loaded = serialization.load_pem_private_key(key, password=None)
    return loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
