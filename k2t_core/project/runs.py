"""Verifications that were made: the last one whole, and a line and the numbers of each one before."""

from __future__ import annotations

import json
import secrets
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from k2t_core.project.store import write_whole
from k2t_core.verification.report import Report
from k2t_core.verification.report_file import read_report, report_key, write_report

KEPT_RUNS = 50  # past verifications in the table


@dataclass(frozen=True)
class PastRun:
    """A verification that was made: when (seconds), of which overrides, and how it ended."""

    at: float
    overrides: tuple[str, ...]
    verdict: str  # agrees, differs, or proves nothing
    worst: float  # the largest relative difference of an output in any of its comparisons
    first_divergence: str | None
    inputs: str
    command: str  # that repeats it
    id: str = ""  # of its numbers: see `Runs.numbers`


class Runs:
    """The verifications of the project in a folder: ``report/``, ``runs/`` and ``runs.jsonl`` in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._last: Report | None = None
        self._lock = threading.Lock()  # a page may read the report that a job is writing

    @property
    def last(self) -> Report | None:
        """The last report, None where there is none."""
        with self._lock:
            if self._last is None:
                self._last = read_report(self.folder / "report")
            return self._last

    def is_of(self, key: str) -> bool:
        """Whether the last report was written with this key."""
        with self._lock:
            return report_key(self.folder / "report") == key

    def write(self, report: Report, key: str) -> None:
        """Make it the last report. key: what it is a report on."""
        with self._lock:
            write_report(report, self.folder / "report", key)
            self._last = report

    def keep(self, report: Report, overrides: tuple[str, ...], command: str) -> None:
        """A line in the table of past verifications, and the numbers behind it. overrides: in words."""
        line = PastRun(
            time.time(),
            overrides,
            "differs" if not report.passed else "agrees" if report.proves else "proves nothing",
            max((o.difference.relative for r in report.runs for o in r.outputs), default=0.0),
            report.first_divergence,
            report.deciding.inputs,
            command,
            secrets.token_hex(8),
        )
        folder = self.folder / "runs"
        folder.mkdir(exist_ok=True)
        (folder / f"{line.id}.json").write_text(json.dumps(report.to_json(), ensure_ascii=False), encoding="utf-8")
        kept = [*self.past(), line][-KEPT_RUNS:]
        ids = {past.id for past in kept}
        for path in folder.iterdir():
            if path.stem not in ids:
                path.unlink()
        lines = [json.dumps(asdict(past), ensure_ascii=False) for past in kept]
        write_whole(self.folder / "runs.jsonl", "\n".join(lines) + "\n")

    def past(self) -> list[PastRun]:
        """The verifications of this model, oldest first."""
        path = self.folder / "runs.jsonl"
        if not path.is_file():
            return []
        found = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        return [PastRun(**{**data, "overrides": tuple(data["overrides"])}) for data in found]

    def numbers(self, run: PastRun) -> dict[str, Any] | None:
        """What `Report.to_json` gave of a past verification; None where it was not kept."""
        path = self.folder / "runs" / f"{run.id}.json"
        return json.loads(path.read_text(encoding="utf-8")) if run.id and path.is_file() else None

    def forget(self) -> None:
        """Remember no report; the files are the store's to delete."""
        with self._lock:
            self._last = None
