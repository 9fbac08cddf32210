"""What test_report_file.py kills a process in: a report takes the place of another."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from k2t_core.verification.report_file import read_report, write_report

OLD = "K2T_TEST_REPORT"  # names the folder of a report: making one takes a framework, and those cannot be forked


def prepare_report(folder: Path) -> None:
    shutil.copytree(os.environ[OLD], folder / "report")


def report(folder: Path) -> None:
    found = read_report(folder / "report")
    assert found is not None
    write_report(found, folder / "report", "new")
