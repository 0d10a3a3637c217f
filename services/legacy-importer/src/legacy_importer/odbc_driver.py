"""Finds the library of Microsoft's ODBC driver in its wheel, and finds out whether another driver is FreeTDS."""

import configparser
import os
import platform
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def is_freetds(driver: str) -> bool:
    """Whether the driver is FreeTDS, whose keywords differ from those of Microsoft's driver.

    `driver` is a path or a name in odbcinst.ini. Any name can stand for FreeTDS, so the library file is searched for
    the word FreeTDS. If there is no such file, a `driver` that contains `tds` counts as FreeTDS. False for an empty
    `driver`, which means Microsoft's.
    """
    library = Path(library_of(driver))
    if library.is_file():
        return b"FreeTDS" in library.read_bytes()
    return "tds" in driver.casefold()


def library_of(driver: str) -> str:
    """The path of the driver that odbcinst.ini lists under this name; `driver` itself if it lists none."""
    return _installed_as(driver) or driver


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
    """The path of the driver in Microsoft's wheel. None if there is no wheel, or no build for this platform."""
    spec = find_spec("mssql_python_odbc")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        for driver in sorted(Path(folder, "libs").glob(_DRIVERS.get(platform.system(), "-"))):
            if platform.system() != "Linux" or driver.match(f"*/{_distribution()}/{platform.machine()}/lib/*"):
                return driver
    return None


_DRIVERS = {"Linux": "linux/*/*/lib/libmsodbcsql-18*.so*", "Darwin": "macos/*/lib/libmsodbcsql*.dylib"}


def _distribution() -> str:
    """The name of the wheel's folder for this Linux distribution, or `debian_ubuntu` if the distribution is unknown."""
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
