"""Plotly figures of a verification, of weights and activations, and of the lessons: pure functions, a chart a module.

Values are binned here, so that a page sends bars. `style` says what all charts have in common.
"""

from k2t_core.inspector.charts.activations import activation_figures
from k2t_core.inspector.charts.changes import change_chart
from k2t_core.inspector.charts.classes import class_chart
from k2t_core.inspector.charts.differences import difference_histogram
from k2t_core.inspector.charts.elements import scatter
from k2t_core.inspector.charts.layers import layer_chart
from k2t_core.inspector.charts.matrix import heat_map
from k2t_core.inspector.charts.ulps import ulp_histogram
from k2t_core.inspector.charts.weights import weight_figure

__all__ = [
    "activation_figures",
    "change_chart",
    "class_chart",
    "difference_histogram",
    "heat_map",
    "layer_chart",
    "scatter",
    "ulp_histogram",
    "weight_figure",
]
