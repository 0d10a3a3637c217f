"""Limits of values are named constants of `limits`: no other module repeats one as a number."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = [
    path
    for path in [*ROOT.glob("services/*/src/**/*.py"), *ROOT.glob("shared/src/**/*.py")]
    if "migrations" not in path.parts and path.name != "settings.py"  # a setting's bounds stand beside its default
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_upper_bound_is_a_named_limit(path: Path) -> None:
    tree = ast.parse(path.read_text())

    assert [f"line {node.value.lineno}: {node.arg}" for node in upper_bounds(tree) if has_number(node.value)] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_repeats_the_bounds_of_integers(path: Path) -> None:
    text = "" if path.name == "limits.py" else path.read_text()

    assert [bound for bound in ("2**63", "2**31", "2147483647") if bound in text] == []


def upper_bounds(tree: ast.Module) -> Iterator[ast.keyword]:
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ("max_length", "le", "lt"):
            yield node


def has_number(value: ast.expr) -> bool:
    return any(isinstance(node, ast.Constant) and isinstance(node.value, int) for node in ast.walk(value))
