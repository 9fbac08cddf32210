"""Verifications that were made."""

from __future__ import annotations

from dataclasses import dataclass

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
    id: str = ""  # of its numbers: see `Project.past_report`
