"""How much running a layer alone may take."""

from __future__ import annotations

QUICK = 3_000_000  # parameters up to which the model is run for a layer without being asked: a fraction of a second
PROBES = 12  # layers whose values on the batch are kept, to judge the next change at once
