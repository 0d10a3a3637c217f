"""The rules of imports of all kinds, simulated over drawn histories; without any one of them a promise is broken."""

import random
from collections.abc import Collection

import pytest
from import_histories import History
from import_promises import Broken
from import_rules import EXAMPLES, OFTEN, Rule
from simulated_customers_api import SimulatedCustomersApi


def broken(seed: int, often: Collection[str], without: Rule | None = None) -> Broken | None:
    """The promise that the history with this seed breaks; None: it keeps all."""
    draw = random.Random(seed)
    api = SimulatedCustomersApi(without, applies_deletions=draw.random() < 0.8)
    history = History(api, draw, without=without, often=often)
    try:
        history.run().send(None)
    except StopIteration:
        return None
    except Broken as error:
        error.add_note(f"seed {seed}: {', '.join(history.steps)}")
        return error
    raise AssertionError("the simulation waits for nothing")


def keep_all_promises(seeds: range) -> None:
    for seed in seeds:
        if error := broken(seed, OFTEN[list(Rule)[seed % len(Rule)]]):
            raise error


def test_no_history_breaks_a_promise() -> None:
    keep_all_promises(range(1_000))


@pytest.mark.prove
@pytest.mark.timeout(7200)
def test_no_history_of_tens_of_thousands_breaks_a_promise() -> None:
    keep_all_promises(range(1_000, 31_000))


@pytest.mark.parametrize("rule", EXAMPLES)
def test_without_the_rule_a_history_breaks_a_promise(rule: Rule) -> None:
    seed, often = EXAMPLES[rule], OFTEN[rule]

    assert broken(seed, often) is None
    assert broken(seed, often, without=rule), f"another seed is needed: {rule.value}"
