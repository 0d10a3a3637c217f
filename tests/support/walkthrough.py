"""The commands of README.md and docs/api.md, run as they are written, and the answers that the pages show.

In a block, lines that begin with `# ` are the answer to the line above them. JSON may be wrapped over several lines.
"""

import asyncio
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "api.md")
_BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# curl as the reader has it, but quiet and failing where the service refuses.
_PROLOGUE = 'set -o pipefail\ncurl() { command curl --silent --show-error --fail-with-body "$@"; }\n'
_END = "\x1e"
_BASE_URL = re.compile(r"\$(?:CUSTOMERS|FAVORITES)_API")
_REFUSED = 22  # curl's exit code with --fail-with-body


class Step(NamedTuple):
    command: str
    shown: str


class Answer(NamedTuple):
    step: Step
    code: int
    text: str


def blocks() -> list[list[Step]]:
    """The blocks of both pages that call a service, in the order in which a reader meets them."""
    found = [_steps(block) for page in PAGES for block in _BLOCK.findall(page.read_text())]
    return [steps for steps in found if any(_BASE_URL.search(step.command) for step in steps)]


def _steps(block: str) -> list[Step]:
    steps: list[Step] = []
    for line in block.splitlines():
        if line.startswith("# ") and steps:
            steps[-1] = Step(steps[-1].command, f"{steps[-1].shown}{line[2:]}\n")
        else:
            steps.append(Step(line, ""))
    return steps


async def walk(steps: list[Step], variables: Mapping[str, str]) -> list[Answer]:
    """Run the steps in one shell, line by line."""
    script = "".join(f"{step.command}\nprintf '\\n%s%s' $? '{_END}'\n" for step in steps)
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-c", _PROLOGUE + script),
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await shell.communicate()
    texts = [part.rpartition("\n") for part in output.decode().split(_END)[:-1]]
    return [Answer(step, int(code), text) for step, (text, _, code) in zip(steps, texts, strict=True)]


def differs(answer: Answer) -> bool:
    """Whether the answer differs from the one shown in more than its data: in exit code, keys or texts."""
    shown = shape(answer.step.shown)
    if answer.code != (_REFUSED if _is_problem(shown) else 0):
        return True
    return bool(answer.step.shown) and shape(answer.text) != shown


def shape(text: str) -> Any:
    """What must be equal in two answers.

    Of JSON the keys, of each list the first item, and every text of a problem or a message; of another text everything
    but its digits and cursors.
    """
    try:
        return _shape(json.loads(text))
    except ValueError:
        return _without_data(text)


def _without_data(text: str) -> str:
    return re.sub(r"\d+", "0", re.sub(r"cursor=[\w-]+", "cursor=…", text)).strip().casefold()


def _shape(value: Any) -> Any:
    match value:
        case dict() if _is_problem(value):
            return {**value, "instance": _without_data(value["instance"]), "trace_id": None, "customer_id": None}
        case dict():
            return {key: each if key == "message" else _shape(each) for key, each in value.items()}
        case list():
            return [_shape(each) for each in value[:1]]
        case _:
            return None


def _is_problem(value: Any) -> bool:
    return isinstance(value, dict) and "trace_id" in value
