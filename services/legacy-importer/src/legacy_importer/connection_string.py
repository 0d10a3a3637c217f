"""What the ODBC driver is told: where vAptekeSync is, who we are, and whom it may trust."""

import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from legacy_importer import odbc_driver, odbc_options
from legacy_importer.legacy_errors import LegacyMisconfigured
from legacy_importer.settings import LegacySettings

_NOWHERE = "/nowhere"  # where no certificates are
_SECTION = "vAptekeSync"


def build(settings: LegacySettings) -> str:
    """What has no keyword is put where the driver looks for it: the environment, a file. Raises LegacyMisconfigured."""
    is_freetds = odbc_driver.is_freetds(settings.vaptekesync_driver)
    own, braced = (_freetds(settings), _braced_for_freetds) if is_freetds else (_microsoft(settings), _braced)
    values = {
        "DRIVER": settings.vaptekesync_driver or str(_microsoft_driver()),
        "DATABASE": settings.vaptekesync_db,
        "UID": settings.vaptekesync_user,
        "PWD": settings.vaptekesync_password.get_secret_value(),
        "APP": "legacy-importer",
        "ApplicationIntent": "ReadOnly",
        **own,
    }
    options = odbc_options.parse(settings.vaptekesync_odbc_options)
    given = {name.casefold() for name in options}
    parts = [f"{name}={braced(value)}" for name, value in values.items() if name.casefold() not in given]
    return ";".join([*parts, *(f"{name}={value}" for name, value in options.items())])


def _microsoft_driver() -> Path:
    found = odbc_driver.microsoft()
    if found is None:
        raise LegacyMisconfigured("Microsoft's ODBC driver has no build for this platform: set VAPTEKESYNC_DRIVER")
    return found


def _braced(value: str) -> str:
    return "{" + value.replace("}", "}}") + "}"


def _braced_for_freetds(value: str) -> str:
    """It knows no doubled brace. Raises LegacyMisconfigured."""
    if "};" in value:
        raise LegacyMisconfigured(
            "FreeTDS cannot be given a user, password or database with `};` in it (VAPTEKESYNC_DRIVER)"
        )
    return "{" + value + "}"


def _microsoft(settings: LegacySettings) -> dict[str, str]:
    if settings.vaptekesync_sslrootcert:
        _trust_only(settings.vaptekesync_sslrootcert)
    name = settings.vaptekesync_certificate_host
    return {
        "SERVER": f"{settings.vaptekesync_host},{settings.vaptekesync_port}",
        "Encrypt": settings.vaptekesync_encrypt,
        "TrustServerCertificate": "yes" if settings.vaptekesync_trust_server_certificate else "no",
        "ConnectRetryCount": "0",  # the attempts are ours to count
        **({"HostNameInCertificate": name} if name else {}),
    }


def _trust_only(authority: str) -> None:
    """The driver has no keyword for it, but asks OpenSSL, and that the environment. Kafka's context is made before."""
    os.environ |= {"SSL_CERT_FILE": authority, "SSL_CERT_DIR": _NOWHERE}


def _freetds(settings: LegacySettings) -> dict[str, str]:
    common = {"TDS_Version": "7.4", "ClientCharset": "UTF-8"}
    if settings.vaptekesync_encrypt == "yes" and not settings.vaptekesync_trust_server_certificate:
        return common | {"Encryption": "require", "Servername": _freetds_verifying(settings)}
    return common | {
        "SERVER": settings.vaptekesync_host,
        "PORT": str(settings.vaptekesync_port),
        "Encryption": "off" if settings.vaptekesync_encrypt == "no" else "require",
    }


def _freetds_verifying(settings: LegacySettings) -> str:
    """Only a section of its own configuration file makes FreeTDS verify certificates; the section's name."""
    file = Path(_folder().name, "freetds.conf")
    file.write_text(
        f"[{_SECTION}]\n"
        f"host = {settings.vaptekesync_host}\n"
        f"port = {settings.vaptekesync_port}\n"
        f"ca file = {settings.vaptekesync_sslrootcert or 'system'}\n"
        "check certificate hostname = yes\n"
    )
    os.environ["FREETDSCONF"] = str(file)
    return _SECTION


@cache
def _folder() -> TemporaryDirectory[str]:
    """It goes with the process."""
    return TemporaryDirectory(prefix="legacy-importer-")
