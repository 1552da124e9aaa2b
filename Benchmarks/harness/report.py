"""What a row is, and how rows become a table and bench.json."""

import json
import subprocess
from dataclasses import dataclass
from typing import Callable

from .lab import Failure


@dataclass(frozen=True)
class Row:
    """One line of the table: `measure(lab)` returns our figure and those of the others, by name.

    `ratio` is "ours/other" or "other/ours"; the first of the others is the one it is taken against. A row whose bar is
    an absolute figure has no other: its ratio is taken against the bar.
    """

    id: str
    what: str
    unit: str
    measure: Callable
    bar: float
    at_least: bool = False
    ratio: str = "ours/other"
    absolute: bool = False

    def bar_text(self):
        sign = ">=" if self.at_least else "<="
        return f"{sign} {self.bar:g} {self.unit}" if self.absolute else f"{sign} {self.bar:g} x"


def measure(row, lab):
    """The row's result as it stands in bench.json; a row that could not be measured says why and does not hold."""
    result = {"id": row.id, "what": row.what, "unit": row.unit, "ours": None, "against": {}, "ratio": None,
              "bar": row.bar, "holds": False}
    try:
        ours, against = row.measure(lab)
    except (Failure, subprocess.TimeoutExpired, OSError, ValueError, KeyError) as problem:
        result["problem"] = f"{type(problem).__name__}: {problem}"
        return result
    result["ours"] = round(ours, 3)
    result["against"] = {name: None if figure is None else round(figure, 3) for name, figure in against.items()}
    other = row.bar if row.absolute else next(iter(against.values()))
    if row.absolute and not row.at_least and (row.bar == 0 or ours <= 0):
        # Nothing, or less, has no ratio.
        result["holds"] = ours <= row.bar
        return result
    if other is None or ours <= 0:
        result["problem"] = "the peer could not run: " + ", ".join(against)
        return result
    ratio = other / ours if row.ratio == "other/ours" else ours / other
    result["ratio"] = round(ratio, 3)
    reached = ours if row.absolute else ratio
    result["holds"] = reached >= row.bar if row.at_least else reached <= row.bar
    return result


def table(results, rows):
    bars = {row.id: row.bar_text() for row in rows}
    head = ["id", "what", "ours", "against", "ratio", "bar", "holds"]
    lines = [head]
    for result in results:
        ours = "-" if result["ours"] is None else f"{figure(result['ours'])} {result['unit']}"
        against = ", ".join(f"{name} {figure(value)}" for name, value in result["against"].items()) or "-"
        ratio = "-" if result["ratio"] is None else f"{result['ratio']:.2f}"
        lines.append([result["id"], result["what"], ours, against, ratio, bars[result["id"]],
                      "yes" if result["holds"] else "NO"])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for number, line in enumerate(lines):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))
    for result in results:
        if "problem" in result:
            print(f"{result['id']}: {result['problem']}")


def figure(value):
    if value is None:
        return "could not run"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write(results, path):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=2)
        file.write("\n")
