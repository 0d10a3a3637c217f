"""The README's shell blocks, run as they are written, and the answers that they show.

In a block, a line that begins with `# ` is the answer to the line above it.
"""

import asyncio
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
_BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# curl as the reader has it, but quiet and failing where the service refuses.
_PROLOGUE = 'set -o pipefail\ncurl() { command curl --silent --show-error --fail-with-body "$@"; }\n'
_END = "\x1e"


class Step(NamedTuple):
    command: str
    shown: str


class Answer(NamedTuple):
    step: Step
    code: int
    text: str


def blocks() -> list[list[Step]]:
    """Those of the README that call a service."""
    found = [_steps(block) for block in _BLOCK.findall(README.read_text())]
    return [steps for steps in found if any('curl -H "$AUTH"' in step.command for step in steps)]


def _steps(block: str) -> list[Step]:
    steps: list[Step] = []
    for line in block.splitlines():
        if line.startswith("# ") and steps:
            steps[-1] = Step(steps[-1].command, f"{steps[-1].shown}{line[2:]}\n")
        else:
            steps.append(Step(line, ""))
    return steps


async def walk(steps: list[Step], variables: Mapping[str, str]) -> list[Answer]:
    """In one shell, line by line."""
    told = "".join(f"{step.command}\nprintf '\\n%s%s' $? '{_END}'\n" for step in steps)
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-c", _PROLOGUE + told),
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await shell.communicate()
    texts = [part.rpartition("\n") for part in output.decode().split(_END)[:-1]]
    return [Answer(step, int(code), text) for step, (text, _, code) in zip(steps, texts, strict=True)]


def differs(answer: Answer) -> bool:
    """In more than the data: in its keys, or in words."""
    if answer.code:
        return True
    return bool(answer.step.shown) and shape(answer.text) != shape(answer.step.shown)


def shape(text: str) -> Any:
    """Of JSON the keys, of the first of each list; of anything else the text without its digits."""
    try:
        return _shape(json.loads(text))
    except ValueError:
        return re.sub(r"\d+", "0", text).strip()


def _shape(value: Any) -> Any:
    match value:
        case dict():
            return {key: _shape(each) for key, each in value.items()}
        case list():
            return [_shape(each) for each in value[:1]]
        case _:
            return None
