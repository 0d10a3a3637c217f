"""The rules of an import against their model, without a database, over drawn histories."""

import pytest
from rules_in_memory import RuleHistory

STEPS = 25


@pytest.mark.parametrize("first", range(0, 1_000, 250))
def test_a_thousand_short_histories_end_as_the_model_says(first: int) -> None:
    for seed in range(first, first + 250):
        RuleHistory(seed).run(STEPS)


@pytest.mark.prove
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(1_000, 101_000, 10_000))
def test_a_hundred_thousand_histories_end_as_the_model_says(first: int) -> None:
    for seed in range(first, first + 10_000):
        try:
            RuleHistory(seed).run(STEPS)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error
