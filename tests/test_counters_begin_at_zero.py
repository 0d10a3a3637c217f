"""A counter that an alert watches is there before its first failure: otherwise Prometheus would not see it grow."""

import subprocess
import sys

import pytest

_SHOW = "import {module}; from prometheus_client import generate_latest; print(generate_latest().decode())"


@pytest.mark.parametrize(
    ("module", "counters"),
    [
        (
            "customers_api.app",
            [
                'vapteke_import_verdicts_total{status="failed"}',
                'vapteke_ignored_events_total{reason="not_handed_out"}',
                'vapteke_ignored_events_total{reason="outside_of_the_range"}',
                'vapteke_ignored_events_total{reason="senseless"}',
                'vapteke_dead_records_total{topic="vapteke.legacy.customers.v1"}',
                'vapteke_refused_calls_total{code="insufficient_scope"}',
                'vapteke_refused_calls_total{code="invalid_token"}',
            ],
        ),
        ("favorites_api.app", ['vapteke_passed_over_records_total{topic="vapteke.customers.v1"}']),
    ],
)
def test_counters_of_alerts_begin_at_zero(module: str, counters: list[str]) -> None:
    command = [sys.executable, "-c", _SHOW.format(module=module)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    assert {f"{counter} 0.0" for counter in counters} <= set(shown)
