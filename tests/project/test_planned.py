"""What goes between the server and an engine: every class that the workbench gives comes out as it went in."""

from __future__ import annotations

import inspect
from dataclasses import is_dataclass

from k2t_core import transforms
from k2t_core.project.planned import CODEC
from k2t_core.project.workbench import Workbench
from k2t_core.transforms import Transform
from k2t_core.verification import report


def test_every_transform_is_known():
    kinds = [cls for _, cls in inspect.getmembers(transforms, inspect.isclass) if issubclass(cls, Transform)]
    assert len(kinds) > 5 and set(kinds) <= set(CODEC.classes.values())


def test_every_part_of_a_report_is_known():
    parts = [
        cls
        for _, cls in inspect.getmembers(report, is_dataclass)
        if inspect.isclass(cls) and cls.__module__ == report.__name__
    ]
    assert len(parts) > 5 and set(parts) <= set(CODEC.classes.values())


def test_the_workbench_speaks_it():
    assert Workbench.CODEC is CODEC
