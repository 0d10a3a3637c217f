"""The binaries of Postgres: complete or absent, and with TLS where a build for the machine exists."""

import errno
from pathlib import Path

import pytest
from vapteke_local.servers import postgres_binaries
from vapteke_local.servers.postgres_binaries import NoTls


def test_a_machine_without_a_postgres_with_tls_is_named() -> None:
    with pytest.raises(NoTls, match="none is listed for linux-riscv64"):
        postgres_binaries.tls_jar("linux-riscv64")


def test_binaries_that_were_unpacked_in_part_are_absent(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "bin").mkdir()
        raise OSError(errno.ENOSPC, "no space left")

    with pytest.raises(OSError, match="no space left"):
        postgres_binaries.filled_folder(tmp_path / "postgres", fill)

    assert list(tmp_path.iterdir()) == []


def test_of_two_starts_that_unpack_the_first_to_finish_wins(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "slow").touch()
        postgres_binaries.filled_folder(tmp_path / "postgres", lambda folder: (folder / "quick").touch())

    postgres_binaries.filled_folder(tmp_path / "postgres", fill)

    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*")] == [Path("postgres"), Path("postgres/quick")]
