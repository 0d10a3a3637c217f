"""The published contracts match the code, and change only in compatible ways."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import contracts
import pytest
from vapteke_shared.contract import json_schemas

FILES = contracts.files()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(contracts.ROOT)))
def test_a_file_is_what_the_code_says(path: Path) -> None:
    text = path.read_text() if path.exists() else ""

    assert text == FILES[path], "`make contracts` writes it anew"


def test_every_schema_file_is_of_an_event() -> None:
    assert {path.name for path in contracts.SCHEMAS.iterdir()} == set(json_schemas.published())


def test_a_consumer_of_any_schema_that_was_ever_committed_can_read_todays_events() -> None:
    found = [
        f"{commit}: {fault}"
        for commit, path in committed(contracts.SCHEMAS.relative_to(contracts.ROOT))
        for fault in contracts.faults(path.name, json.loads(git("show", f"{commit}:{path}")))
    ]

    assert found == [], contracts.RULE


def committed(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every content that a file of the folder ever had: a commit, and the path."""
    if shutil.which("git") is None or subprocess.run(["git", "rev-parse"], cwd=contracts.ROOT).returncode:
        pytest.skip("there is no git, or this is no repository of it: no history to compare with")
    if git("rev-parse", "--is-shallow-repository").strip() == "true":
        pytest.skip("this is a shallow clone: its history is cut off")
    log = git("log", "--format=commit %h", "--name-only", "--no-renames", "--diff-filter=AM", "--", str(folder))
    for entry in filter(None, log.split("commit ")):
        commit, *paths = entry.split()
        yield from ((commit, Path(path)) for path in paths)


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=contracts.ROOT, capture_output=True, text=True, check=True).stdout


def test_the_command_accepts_a_field_that_is_added_with_its_name(tmp_path: Path) -> None:
    name = "vapteke.legacy_customer.read.v1.json"
    before = json.loads(FILES[contracts.SCHEMAS / name])
    del before["properties"]["city_id"]
    _names(before).remove("city_id")
    (tmp_path / name).write_text(json.dumps(before))

    contracts.check(tmp_path)


def test_the_command_refuses_to_remove_a_name_from_an_open_list(tmp_path: Path) -> None:
    name = "vapteke.legacy_customer.read.v1.json"
    before = json.loads(FILES[contracts.SCHEMAS / name])
    _names(before).append("nickname")
    (tmp_path / name).write_text(json.dumps(before))

    with pytest.raises(SystemExit, match="the name nickname is gone"):
        contracts.check(tmp_path)


def _names(schema: Any) -> list[str]:
    """The names of fields that may be unusable."""
    names: list[str] = schema["properties"]["unusable"]["anyOf"][0]["propertyNames"]["x-extensible-enum"]
    return names


def test_the_command_refuses_what_consumers_could_not_read(tmp_path: Path) -> None:
    name = "vapteke.customer.created.v1.json"
    old = json.loads(FILES[contracts.SCHEMAS / name])
    old["properties"]["nickname"] = {"type": "string"}
    (tmp_path / name).write_text(json.dumps(old))
    (tmp_path / "vapteke.customer.married.v1.json").write_text("{}")

    with pytest.raises(SystemExit) as refusal:
        contracts.check(tmp_path)

    assert str(refusal.value).split("\n") == [
        f"{name}: $: the field nickname is gone",
        "vapteke.customer.married.v1.json: there is no such event any more, but old ones are about",
        contracts.RULE,
    ]
