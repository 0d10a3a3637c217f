"""Finds the ODBC driver: Microsoft's in its wheel, one by its path, or one by the name in odbcinst.ini."""

import configparser
import os
import platform
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def is_freetds(driver: str) -> bool:
    """Whether the driver is FreeTDS, whose keywords differ. Any name can stand for it, so its library file is read."""
    library = Path(_installed_as(driver) or driver)
    if library.is_file():
        return b"FreeTDS" in library.read_bytes()
    return "tds" in driver.casefold()


def _installed_as(name: str) -> str:
    """The path of the driver that odbcinst.ini lists under this name, or an empty text."""
    installed = configparser.ConfigParser(strict=False, interpolation=None)
    with suppress(configparser.Error, UnicodeDecodeError, RuntimeError):  # RuntimeError: there is no home directory
        system = Path(os.environ.get("ODBCSYSINI", "/etc"), os.environ.get("ODBCINSTINI", "odbcinst.ini"))
        installed.read([system, Path.home() / ".odbcinst.ini"])
    sections = {section.casefold(): section for section in installed.sections()}
    section = sections.get(name.casefold())
    return installed.get(section, "driver", fallback="") if section else ""


def microsoft() -> Path | None:
    """The path of the driver in Microsoft's wheel; None if it is not installed or has no build for this platform."""
    spec = find_spec("mssql_python_odbc")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        for driver in sorted(Path(folder, "libs").glob(_DRIVERS.get(platform.system(), "-"))):
            if platform.system() != "Linux" or driver.match(f"*/{_distribution()}/{platform.machine()}/lib/*"):
                return driver
    return None


_DRIVERS = {"Linux": "linux/*/*/lib/libmsodbcsql-18*.so*", "Darwin": "macos/*/lib/libmsodbcsql*.dylib"}


def _distribution() -> str:
    """The name of the wheel's folder for this Linux distribution."""
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
