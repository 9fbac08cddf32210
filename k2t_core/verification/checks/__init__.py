"""The checks, one a module. What follows the order here: the results in a report, and the first that a verdict names.

Each check of single layers runs in every comparison, each check of training where ``training`` is asked for.
"""

from __future__ import annotations

from collections.abc import Callable

from k2t_core.verification.check import LayerCheck, Trial
from k2t_core.verification.checks.before_activation import BeforeActivation
from k2t_core.verification.checks.dropout import dropouts
from k2t_core.verification.checks.epsilon import Epsilon
from k2t_core.verification.checks.gradients import gradients
from k2t_core.verification.checks.moving_averages import moving_averages
from k2t_core.verification.report import TrainingResult

LAYER_CHECKS: tuple[LayerCheck, ...] = (BeforeActivation(), Epsilon())
TRAINING_CHECKS: tuple[Callable[[Trial], list[TrainingResult]], ...] = (gradients, moving_averages, dropouts)
