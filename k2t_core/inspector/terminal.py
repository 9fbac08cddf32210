"""A model's card and a report as tables on the terminal: what `k2t inspect` and `k2t verify` print."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from k2t_core.words import printable, size_text

if TYPE_CHECKING:
    from k2t_core.verification.report import Report

STATUS = {"unsupported": "red", "ambiguous": "yellow", "inert": "dim"}


def print_card(card: Mapping[str, Any]) -> None:
    """card: what `card.card_json` gives."""
    console = _console()
    facts = f"{card['format']} of Keras {card['keras_version']}, {card['parameters']:,} parameters"
    console.print(_text(f"{card['model']}: {facts}, {size_text(card['bytes'])}", style="bold"))
    for title in ("inputs", "outputs"):
        tensors = ", ".join(f"{side['name']} {_shape(side['shape'])} {side['dtype']}" for side in card[title])
        console.print(_text(f"{title}: {tensors}"))
    table = _table("Keras", "type", "shape", "PyTorch", "shape", "variables", "status")
    for row in card["layers"]:
        shape = row["torch_shape"]
        if row["torch_layout"] != row["keras_layout"]:
            shape += f" {row['torch_layout']}"
        weights = "\n".join(row["weights"])
        cells = (row["call"], row["type"], row["keras_shape"], row["module"], shape, weights, row["status"])
        table.add_row(*map(_text, cells), style=STATUS.get(row["status"]))
    console.print(table)


def print_report(report: Report) -> None:
    """Every output of every comparison, what else there is to know, and the verdict last."""
    console = _console()
    table = _table("weights", "inputs", "output", "shape", "max abs", "mean abs", "max relative", "")
    for run in report.runs:
        for output in run.outputs:
            found = output.difference
            numbers = (f"{value:.2e}" for value in (found.max_abs, found.mean_abs, found.relative))
            verdict = "agrees" if output.passed else "differs"
            cells = (run.weights, run.inputs, output.name, _shape(output.keras_shape), *numbers, verdict)
            table.add_row(*map(_text, cells), style=None if output.passed else "red")
    console.print(table)
    for layer, reason in report.unseen.items():
        console.print(Text(f"no evidence for layer {layer!r}: {reason} in all that was compared", style="yellow"))
    for weakness in report.weaknesses:
        console.print(_text(f"cannot tell a wrong transpose: {weakness.variable}: {weakness.reason}", style="yellow"))
    for note in report.notes:
        console.print(_text(note, style="yellow"))
    for effect in report.effects:
        console.print(_text(f"override of {effect.describe()}", style="" if effect.agrees else "red"))
    for cause in report.causes[:3]:
        console.print(_text(f"{cause.layer}: {cause.describe()}", style="yellow"))
    colour = "red" if not report.passed else "green" if report.proves else "yellow"
    console.print(_text(report.verdict, style=f"bold {colour}"))


def _text(words: str, style: str = "") -> Text:
    return Text(printable(words), style=style)


def _console() -> Console:
    """Terminal width on a terminal; in a pipe or file, lines as long as they need to be."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=100_000)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _shape(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("?" if n is None else str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"
