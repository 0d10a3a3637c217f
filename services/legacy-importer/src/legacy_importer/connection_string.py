"""Builds the ODBC connection string: the address of vAptekeSync, our login, and the certificates to trust."""

import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from legacy_importer import odbc_driver, odbc_options
from legacy_importer.legacy_errors import DriverUnusable
from legacy_importer.settings import LegacySettings

_NOWHERE = "/nowhere"  # a folder without certificates
_SECTION = "vAptekeSync"


def build(settings: LegacySettings) -> str:
    """Build the connection string. It contains the password, so never log it. Raises DriverUnusable.

    Settings for which the driver has no keyword are set in environment variables of this process, or written to a file.
    """
    is_freetds = odbc_driver.is_freetds(settings.vaptekesync_driver)
    own, braced = (_freetds(settings), _braced_for_freetds) if is_freetds else (_microsoft(settings), _braced)
    values = {
        "DRIVER": settings.vaptekesync_driver or str(microsoft_driver()),
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


def microsoft_driver() -> Path:
    found = odbc_driver.microsoft()
    if found is None:
        raise DriverUnusable(
            "Microsoft's ODBC driver is not installed, or has no build for this platform: set VAPTEKESYNC_DRIVER"
        )
    return found


def _braced(value: str) -> str:
    return "{" + value.replace("}", "}}") + "}"


def _braced_for_freetds(value: str) -> str:
    """The value in braces, for FreeTDS, which cannot escape a brace by doubling it.

    Raises DriverUnusable for a value that contains `};`.
    """
    if "};" in value:
        raise DriverUnusable(
            "FreeTDS does not support a user, password or database that contains `};`: use Microsoft's driver "
            "(VAPTEKESYNC_DRIVER)"
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
        "ConnectRetryCount": "0",  # the importer counts the attempts itself
        **({"HostNameInCertificate": name} if name else {}),
    }


def _trust_only(authority: str) -> None:
    """Make OpenSSL in this process trust only the authorities in the PEM file `authority` from now on.

    The driver has no keyword for such a file, but OpenSSL reads the environment variables that are set here. A TLS
    context that was created before, as the one for Kafka must be, keeps its own authorities.
    """
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
    """Write the configuration file that makes FreeTDS verify certificates, and name the file in FREETDSCONF.

    Returns the name of the section that describes vAptekeSync.
    """
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
    """The temporary folder for FreeTDS's configuration file; every call returns the same one.

    Python deletes the folder when the process exits normally. A process that is killed leaves the folder behind.
    """
    return TemporaryDirectory(prefix="legacy-importer-")
