"""The experiments behind the Learn page: each runs a Keras layer and torch modules, a right one and a wrong one.

Everything is computed by the frameworks when it is asked for; nothing here is a stored result.
"""

from k2t_core.inspector.lessons.activations import ACTIVATIONS, activation_default
from k2t_core.inspector.lessons.axes import (
    FORMATS,
    convolution_kernel,
    dense_kernel,
    flatten_order,
    memory_format,
    transposed_kernel,
)
from k2t_core.inspector.lessons.experiment import AGREES, NEARLY_ALL, OUTCOMES, Answer, Experiment
from k2t_core.inspector.lessons.multi_head import ATTENTION, attention
from k2t_core.inspector.lessons.normalization import batch_norm_epsilon, batch_norm_momentum, inference_mode
from k2t_core.inspector.lessons.padding import average_pooling, same_padding
from k2t_core.inspector.lessons.recurrent import BIASES, GATE_ORDERS, KERAS_GATES, TORCH_GATES, gru_reset, lstm_gates

__all__ = [
    "ACTIVATIONS",
    "AGREES",
    "ATTENTION",
    "Answer",
    "BIASES",
    "Experiment",
    "FORMATS",
    "GATE_ORDERS",
    "KERAS_GATES",
    "NEARLY_ALL",
    "OUTCOMES",
    "TORCH_GATES",
    "activation_default",
    "attention",
    "average_pooling",
    "batch_norm_epsilon",
    "batch_norm_momentum",
    "convolution_kernel",
    "dense_kernel",
    "flatten_order",
    "gru_reset",
    "inference_mode",
    "lstm_gates",
    "memory_format",
    "same_padding",
    "transposed_kernel",
]
