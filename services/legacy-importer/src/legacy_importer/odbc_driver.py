"""Which ODBC driver is meant: Microsoft's in its wheel, one by path, or one by the name it is installed under."""

import configparser
import os
import platform
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def is_freetds(driver: str) -> bool:
    """FreeTDS has keywords of its own. It may be installed under any name, but its library says who it is."""
    library = Path(_installed_as(driver) or driver)
    if library.is_file():
        return b"FreeTDS" in library.read_bytes()
    return "tds" in driver.casefold()


def _installed_as(name: str) -> str:
    """The library of a name in odbcinst.ini."""
    installed = configparser.ConfigParser(strict=False, interpolation=None)
    with suppress(configparser.Error, UnicodeDecodeError, RuntimeError):  # the last one: there is no home directory
        system = Path(os.environ.get("ODBCSYSINI", "/etc"), os.environ.get("ODBCINSTINI", "odbcinst.ini"))
        installed.read([system, Path.home() / ".odbcinst.ini"])
    sections = {section.casefold(): section for section in installed.sections()}
    section = sections.get(name.casefold())
    return installed.get(section, "driver", fallback="") if section else ""


def microsoft() -> Path | None:
    """The driver in Microsoft's wheel, if it has a build for this platform."""
    spec = find_spec("mssql_python_odbc")
    places = spec.submodule_search_locations if spec else None
    for place in places or ():
        for driver in sorted(Path(place, "libs").glob(_DRIVERS.get(platform.system(), "-"))):
            if platform.system() != "Linux" or driver.match(f"*/{_distribution()}/{platform.machine()}/lib/*"):
                return driver
    return None


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
