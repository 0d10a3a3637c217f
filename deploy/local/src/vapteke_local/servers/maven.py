"""Jars from Maven Central, cached outside the source tree. Their hashes are checked against a list at every start.

The lists have the form of `sha256sum`; their paths are those of a Maven repository. Only listed jars are used, so run
`python -m vapteke_local.servers.maven` after a change of ENDPOINTS: it writes the lists again.
"""

import asyncio
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jgo.maven import MavenContext

from vapteke_local.machine import cleanup, files
from vapteke_local.machine.processes import StackFailure

KAFKA, POSTGRES = (Path(__file__).with_name(f"{name}-jars.sha256") for name in ("kafka", "postgres"))
_POSTGRES = "io.zonky.test.postgres:embedded-postgres-binaries"
ENDPOINTS = {
    # slf4j-simple: the broker logs to its standard error, and so to its log file.
    KAFKA: "org.apache.kafka:kafka_2.13:4.3.1+org.slf4j:slf4j-simple:1.7.36",
    POSTGRES: f"{_POSTGRES}-linux-amd64:17.11.0+{_POSTGRES}-linux-arm64v8:17.11.0",
}
_DOWNLOADS_AT_ONCE = 8
_HTTP_TIMEOUT_SECONDS = 60


class WrongJar(StackFailure):
    """A jar's hash, in the cache or after a download, is not the one in the list. The text says what to remove."""


def read_list(file: Path) -> dict[str, str]:
    """Reads a list of jars: path in a Maven repository → SHA-256 in hexadecimal."""
    rows = (line.split() for line in file.read_text().splitlines())
    return {path: digest for digest, path in rows}


async def ensure(what: str, expected: Mapping[str, str], say: Callable[[str], None]) -> list[Path]:
    """The paths of the cached jars that `expected` lists (path in a Maven repository → SHA-256).

    Downloads those that are not cached. `what` names the jars in the texts for `say`. Raises WrongJar. When a download
    fails, the error of jgo or of its HTTP library passes through, which is no StackFailure.
    """
    given_up = threading.Event()
    try:
        return await asyncio.to_thread(
            ensure_in, files.cache_dir() / "maven", expected, lambda text: say(f"{what}: {text}"), given_up
        )
    finally:
        given_up.set()


def ensure_in(
    repository: Path, expected: Mapping[str, str], say: Callable[[str], None], given_up: threading.Event
) -> list[Path]:
    missing = [path for path in expected if not (repository / path).exists()]
    if missing:
        say("downloading from Maven Central, once")
        _download(missing, expected, repository, given_up)
    for path, digest in expected.items():
        _check(repository / path, digest)
    return [repository / path for path in expected]


def _download(paths: list[str], expected: Mapping[str, str], repository: Path, given_up: threading.Event) -> None:
    """Downloads jars into a temporary folder and moves each into `repository` once its hash is checked.

    So an unfinished or wrong file never gets into the cache. When `given_up` is set, no further download begins, and
    the function returns without the missing jars. Raises WrongJar.
    """
    _trust_the_callers_certificates()
    repository.mkdir(parents=True, exist_ok=True)
    with cleanup.temporary_folder(".download-", repository) as folder:
        context = MavenContext(repo_cache=folder, timeout=_HTTP_TIMEOUT_SECONDS)

        def fetch(path: str) -> None:
            if given_up.is_set():
                return
            *group, artifact, version, _ = path.split("/")
            file = context.project(".".join(group), artifact).at_version(version).artifact().resolve()
            _check(file, expected[path])
            (repository / path).parent.mkdir(parents=True, exist_ok=True)
            file.replace(repository / path)

        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            list(pool.map(fetch, paths))


def _trust_the_callers_certificates() -> None:
    """If REQUESTS_CA_BUNDLE is unset, sets it to SSL_CERT_FILE: jgo's HTTP library reads no other variable."""
    if "SSL_CERT_FILE" in os.environ:
        os.environ.setdefault("REQUESTS_CA_BUNDLE", os.environ["SSL_CERT_FILE"])


def _check(file: Path, digest: str) -> None:
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != digest:
        raise WrongJar(
            f"{file.name} is not the jar in the list: SHA-256 {found}, expected {digest}. "
            f"If {file} is damaged, remove it: the next start downloads it again."
        )


def write_list(file: Path, endpoint: str) -> None:
    import jgo

    _trust_the_callers_certificates()
    jars = {f"{jar.component.path_prefix}/{jar.filename}": jar.resolve() for jar in jgo.resolve(endpoint)}
    rows = [f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {path}\n" for path, jar in sorted(jars.items())]
    file.write_text("".join(rows))


if __name__ == "__main__":
    for file, endpoint in ENDPOINTS.items():
        write_list(file, endpoint)
        sys.stdout.write(f"{file} written\n")
