"""Write the figures of a run into docs/performance.md: `python tests/bench/performance_page.py FIGURES.json`.

FIGURES.json is what `make bench BENCH_JSON=FIGURES.json` writes.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
_SECTION = re.compile(r"(<!-- figures -->\n).*(<!-- end of figures -->\n)", re.DOTALL)
_RIVALS = ("barest", "bare", "idiom")
_GIB = 2**30

Report = dict[str, Any]
Values = dict[str, float]


def with_figures(page: str, report: Report) -> str:
    """The page's text with the figures of this report in place of those that it has."""
    text = "\n\n".join([_run(report), _stages(report), _calls(report)])
    return _SECTION.sub(lambda markers: f"{markers[1]}{text}\n{markers[2]}", page)


def _run(report: Report) -> str:
    machine, sizes = report["machine"], report["sizes"]
    commit = report["commit"][:12] + ("-dirty" if report["commit"].endswith("-dirty") else "")
    return (
        f"Measured on {report['measured_at'][:10]} at commit `{commit}`: {machine['processor']}, "
        f"{machine['cores']} cores, {machine['memory_bytes'] / _GIB:.0f} GiB of memory, "
        f"Python {machine['python']}. The load of the machine was {machine['load']} after the run.\n"
        f"Sizes: {sizes['rows']:,} rows and the median of {sizes['runs']} runs for each stage; {sizes['customers']:,} "
        f"customers and {sizes['rounds']} rounds of {sizes['seconds']} s for each call."
    )


def _stages(report: Report) -> str:
    rows = [f"| {f['name']} | {f['value']:,.0f} |" for f in report["figures"] if f["unit"] == "rows/s"]
    return "\n".join(["| stage of an import, by itself | rows/s |", "|---|---|", *rows])


def _calls(report: Report) -> str:
    values = {figure["name"]: figure["value"] for figure in report["figures"]}
    calls = list(dict.fromkeys(name.partition(", ours: ")[0] for name in values if ", ours: " in name))
    heads = (
        "call",
        "requests/s",
        "half within, ms",
        "99 % within, ms",
        "CPU, µs/request",
        *(f"× {rival}" for rival in _RIVALS),
        "noise",
    )
    rows = [f"| {' | '.join([call, *_measured(call, values), *_compared(call, values)])} |" for call in calls]
    return "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *rows])


def _measured(call: str, values: Values) -> list[str]:
    names = ("requests", "half within", "99 % within", "CPU")
    rate, half, slowest, cpu = (values[f"{call}, ours: {name}"] for name in names)
    return [f"{rate:,.0f}", f"{half:.1f}", f"{slowest:.1f}", f"{cpu:,.0f}"]


def _compared(call: str, values: Values) -> list[str]:
    times = [f"{values[f'{call}, ours: against {rival}']:.2f}" for rival in _RIVALS]
    return [*times, f"{values[f'{call}, again: against ours']:.2f}"]


def main(
    figures: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="What `make bench` has written.")],
    page: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The page to write into.")] = PAGE,
) -> None:
    page.write_text(with_figures(page.read_text(), json.loads(figures.read_text())))


if __name__ == "__main__":
    typer.run(main)
