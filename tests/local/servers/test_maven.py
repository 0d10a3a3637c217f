"""Jars from Maven Central: downloaded once, checked at every start."""

import hashlib
import threading
from pathlib import Path

import pytest
from vapteke_local.servers import maven
from vapteke_local.servers.maven import WrongJar


def test_a_jar_that_is_not_the_listed_one_is_rejected(tmp_path: Path) -> None:
    path = "org/example/tool/1.0/tool-1.0.jar"
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_bytes(b"tampered")
    listed = hashlib.sha256(b"reviewed").hexdigest()

    with pytest.raises(WrongJar, match=f"tool-1.0.jar is not the jar .* expected {listed}"):
        maven.ensure_in(tmp_path, {path: listed}, print, threading.Event())


def test_jars_in_the_cache_need_no_network(tmp_path: Path) -> None:
    path = "org/example/tool/1.0/tool-1.0.jar"
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_bytes(b"reviewed")
    listed = {path: hashlib.sha256(b"reviewed").hexdigest()}

    assert maven.ensure_in(tmp_path, listed, pytest.fail, threading.Event()) == [tmp_path / path]


def test_the_list_names_each_jar_once_with_its_hash() -> None:
    listed = maven.read_list(maven.KAFKA)

    assert "org/apache/kafka/kafka_2.13/4.3.1/kafka_2.13-4.3.1.jar" in listed
    assert {len(digest) for digest in listed.values()} == {64}
    assert len({Path(path).parent.parent for path in listed}) == len(listed)
