"""Write the figures of a run into docs/performance.md: `python tests/bench/performance_page.py FIGURES.json`.

FIGURES.json is what `make bench BENCH_JSON=FIGURES.json` writes. A section of which it has no figures stays as it is.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
_SECTION = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end of figures -->\n)", re.DOTALL)
_RIVALS = ("barest", "bare", "idiom")
_GIB = 2**30

Report = dict[str, Any]
Values = Mapping[str, float]


def with_figures(page: str, report: Report) -> str:
    """The page's text with the figures of this report in place of those that it has."""

    def section(found: re.Match[str]) -> str:
        values = {figure["name"]: figure["value"] for figure in report["figures"] if figure["part"] == found[2]}
        if not values:
            return found[0]
        return f"{found[1]}{_run(report, found[2])}\n\n{_TABLES[found[2]](values)}\n{found[3]}"

    return _SECTION.sub(section, page)


def _run(report: Report, part: str) -> str:
    machine, sizes, load = report["machine"], report["sizes"], report["load"][part]
    commit = report["commit"][:12] + ("-dirty" if report["commit"].endswith("-dirty") else "")
    return (
        f"Measured on {report['measured_at'][:10]} at commit `{commit}`: {machine['processor']}, "
        f"{machine['cores']} cores, {machine['memory_bytes'] / _GIB:.0f} GiB of memory, Python {machine['python']}; "
        f"load {load['before']} before and {load['after']} after. {_sizes(part, sizes)}"
    )


def _sizes(part: str, sizes: Mapping[str, Any]) -> str:
    size, unit = _REPEATED[part]
    count = sizes[size]
    repeated = f"one {unit}" if count == 1 else f"medians of {count} {unit}s"
    return _SIZES[part].format(**sizes, repeated=repeated)


_REPEATED = {
    "applying": ("runs", "round"),
    "stages": ("runs", "run"),
    "imports": ("runs", "stack"),
    "calls": ("rounds", "round"),
    "many": ("runs", "round"),
    "polling": ("polls", "poll"),
}
_SIZES = {
    "applying": "{rows:,} rows, {repeated}.",
    "stages": "{rows:,} rows, {repeated}.",
    "imports": "{customers:,} rows, {repeated}.",
    "calls": "{customers:,} customers, {repeated} of {seconds} s.",
    "polling": "{customers:,} rows, {polls} imports of changes that found nothing.",
    "many": "{many:,} customers beside {customers:,}, and imports of {imported:,} rows on top.",
}


def _applying(values: Values) -> str:
    names = [name for name in values if f"{name}: CPU" in values]
    compared = {name.partition(": against ")[2]: value for name, value in values.items() if "all new: against" in name}
    rows = [
        (name, f"{values[name]:,.0f}", f"{values[f'{name}: CPU']:,.0f}", _times(compared.get(name))) for name in names
    ]
    return _table(("what", "rows/s", "CPU, µs/row", '"all new" ÷ this'), rows)


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _stages(values: Values) -> str:
    rows = [(name, f"{value:,.0f}") for name, value in values.items()]
    return _table(("stage of an import, by itself", "rows/s"), rows)


def _imports(values: Values) -> str:
    prefixes = ("first import: ", "unchanged import: ")
    names = [name.removeprefix(prefixes[0]) for name in values if name.startswith(prefixes[0])]
    rows = [(_MEASURED.get(name, f"{name}, s"), *(_short(values[each + name]) for each in prefixes)) for name in names]
    memory = [f"`{name.removeprefix(_MEMORY)}` {value:,.0f}" for name, value in values.items() if _MEMORY in name]
    table = _table(("what", "first import", "the same rows again"), rows)
    return f"{table}\n\nPeak memory of the services, MiB: {', '.join(memory)}."


_MEASURED = {
    "endpoint to verdict": "from the endpoint to the verdict, s",
    "rows": "the same in rows/s",
    "CPU": "CPU of all processes but `vaptekesync`, s",
}
_MEMORY = "memory of "


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _calls(values: Values) -> str:
    calls = list(dict.fromkeys(name.partition(", ours: ")[0] for name in values if ", ours: " in name))
    heads = ("call", "requests/s", "half within, ms", "99 % within, ms", "CPU, µs/request")
    rows = [(call, *_measured(call, values), *_compared(call, values)) for call in calls]
    return _table((*heads, *(f"× {rival}" for rival in _RIVALS), "noise"), rows)


def _measured(call: str, values: Values) -> list[str]:
    names = ("requests", "half within", "99 % within", "CPU")
    rate, half, slowest, cpu = (values[f"{call}, ours: {name}"] for name in names)
    return [f"{rate:,.0f}", f"{half:.1f}", f"{slowest:.1f}", f"{cpu:,.0f}"]


def _compared(call: str, values: Values) -> list[str]:
    times = [f"{values[f'{call}, ours: against {rival}']:.2f}" for rival in _RIVALS]
    return [*times, f"{values[f'{call}, again: against ours']:.2f}"]


def _many(values: Values) -> str:
    """Names without a unit are those of calls."""
    rows = [
        (name, *(_short(values[f"{name}: {each}"]) for each in ("few", "many")), f"{ratio:.2f}", _matches(name, values))
        for name, ratio in ((found.removesuffix(_RATIO), values[found]) for found in values if found.endswith(_RATIO))
    ]
    [plain] = [value for name, value in values.items() if "plain query" in name]
    return (
        f"{_table(('what, in ms if not said', 'few', 'many', 'many : few', 'matches among many'), rows)}\n\n"
        f"For the page at an offset of a tenth, a plain `OFFSET` query takes {plain:.1f} × the time of our call. "
        f"Filling the tables took {values['filling']:,.0f} s."
    )


_RATIO = ": many against few"


def _matches(name: str, values: Values) -> str:
    matches = values.get(f"{name}: matches")
    return "" if matches is None else f"{matches:,.0f}"


def _polling(values: Values) -> str:
    prefixes = ("idle: CPU of ", "one poll: CPU of ", "one poll a minute: CPU of ")
    names = [name.removeprefix(prefixes[0]) for name in values if name.startswith(prefixes[0])]
    rows = [(f"`{name}`", *(_short(values[each + name]) for each in prefixes)) for name in names]
    return _table(("CPU of", "idle, % of a core", "one poll, ms", "one poll a minute, % of a core"), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines).replace(" --- ", "---")


_TABLES: Mapping[str, Callable[[Values], str]] = {
    "applying": _applying,
    "stages": _stages,
    "imports": _imports,
    "calls": _calls,
    "many": _many,
    "polling": _polling,
}


def main(
    figures: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="What `make bench` has written.")],
    page: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The page to write into.")] = PAGE,
) -> None:
    page.write_text(with_figures(page.read_text(), json.loads(figures.read_text())))


if __name__ == "__main__":
    typer.run(main)
