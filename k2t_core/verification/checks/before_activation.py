"""A layer with an activation that flattens (softmax, sigmoid, tanh), compared before it as well: it hides an error.

The result is named ``… before softmax``.
"""

from __future__ import annotations

from collections.abc import Iterator

from k2t_core.graph import Layer
from k2t_core.keras_side import running
from k2t_core.verification.check import LayerCheck, Stretch, judged
from k2t_core.verification.report import LayerResult


class BeforeActivation(LayerCheck):
    settles = True

    def run(self, stretch: Stretch) -> Iterator[tuple[str, LayerResult]]:
        for tensor, (layer, _) in stretch.cumulative.items():
            if tensor not in stretch.before:
                continue
            place = stretch.places[tensor]
            want = running.before_activation(stretch.traced, place.scope, place.node, stretch.inputs(place))
            if want is not None:
                result = LayerResult(f"{tensor} before {_activation(place.node.layer)}", layer, None, None, True)
                yield tensor, judged(result, want, stretch.before[tensor], stretch.exact_before.get(tensor))


def _activation(layer: Layer) -> str:
    """The name of the activation of a layer or of the one it wraps."""
    layer = layer.children.get("layer", layer)
    identifier = layer.config.get("activation")
    return identifier if isinstance(identifier, str) else "its activation"
