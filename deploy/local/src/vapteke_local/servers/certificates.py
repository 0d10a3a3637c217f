"""Certificates for servers of this machine, signed by an authority that is made and forgotten at each start."""

from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

NAME = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Certificates:
    authority: Path
    """PEM file of who has signed, for clients."""
    server: str
    """Key and chain in PEM; each server keeps them where it alone can read."""


def issue(folder: Path) -> Certificates:
    authority = trustme.CA()
    file = folder / "authority.pem"
    authority.cert_pem.write_to_path(file)
    issued = authority.issue_cert(NAME)
    pem = b"".join([_pkcs8(issued.private_key_pem.bytes()), *(blob.bytes() for blob in issued.cert_chain_pems)])
    return Certificates(authority=file, server=pem.decode())


def _pkcs8(key: bytes) -> bytes:
    """The form that Java reads."""
    loaded = serialization.load_pem_private_key(key, password=None)
    return loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
