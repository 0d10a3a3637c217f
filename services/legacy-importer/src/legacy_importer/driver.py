"""Which ODBC driver is used, and the connection string that it is given."""

import platform
from importlib.util import find_spec
from pathlib import Path

from legacy_importer.failures import LegacyUnfit
from legacy_importer.settings import LegacySettings


def connection_string(settings: LegacySettings) -> str:
    is_freetds = "tds" in settings.vaptekesync_driver.casefold()
    options, braced = (_freetds(settings), _braced_for_freetds) if is_freetds else (_microsoft(settings), _braced)
    values = {
        "DRIVER": settings.vaptekesync_driver or str(_microsoft_driver()),
        "DATABASE": settings.vaptekesync_db,
        "UID": settings.vaptekesync_user,
        "PWD": settings.vaptekesync_password.get_secret_value(),
        "APP": "legacy-importer",
        "ApplicationIntent": "ReadOnly",
        **options,
    }
    return ";".join(f"{name}={braced(value)}" for name, value in values.items())


def _braced(value: str) -> str:
    return "{" + value.replace("}", "}}") + "}"


def _braced_for_freetds(value: str) -> str:
    """It knows no doubled brace. Raises LegacyUnfit."""
    if "};" in value:
        raise LegacyUnfit("FreeTDS cannot be given a user, password or database with `};` in it (VAPTEKESYNC_DRIVER)")
    return "{" + value + "}"


def _microsoft(settings: LegacySettings) -> dict[str, str]:
    return {
        "SERVER": f"{settings.vaptekesync_host},{settings.vaptekesync_port}",
        "Encrypt": settings.vaptekesync_encrypt,
        "TrustServerCertificate": "yes" if settings.vaptekesync_trust_server_certificate else "no",
        "ConnectRetryCount": "0",  # the attempts are ours to count
    }


def _freetds(settings: LegacySettings) -> dict[str, str]:
    return {
        "SERVER": settings.vaptekesync_host,
        "PORT": str(settings.vaptekesync_port),
        "TDS_Version": "7.4",
        "ClientCharset": "UTF-8",
        "Encryption": "off" if settings.vaptekesync_encrypt == "no" else "require",
    }


def _microsoft_driver() -> Path:
    """The driver in Microsoft's wheel for this platform. Raises LegacyUnfit where it has none."""
    spec = find_spec("mssql_python_odbc")
    places = spec.submodule_search_locations if spec else None
    for place in places or ():
        for driver in sorted(Path(place, "libs").glob(_DRIVERS.get(platform.system(), "-"))):
            if platform.system() != "Linux" or driver.match(f"*/{_distribution()}/{platform.machine()}/lib/*"):
                return driver
    raise LegacyUnfit("Microsoft's ODBC driver has no build for this platform: set VAPTEKESYNC_DRIVER")


_DRIVERS = {"Linux": "linux/*/*/lib/libmsodbcsql-18*.so*", "Darwin": "macos/*/lib/libmsodbcsql*.dylib"}


def _distribution() -> str:
    """The wheel's folder for this distribution."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "debian_ubuntu"
    family = {release["ID"], *release.get("ID_LIKE", "").split()}
    if family & {"rhel", "fedora", "centos"}:
        return "rhel"
    if family & {"suse", "opensuse", "sles"}:
        return "suse"
    return "alpine" if "alpine" in family else "debian_ubuntu"
