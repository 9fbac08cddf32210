"""The lessons of the Learn page: each runs a Keras layer and torch modules, a right one and a wrong one.

A lesson is a module with its experiment and a ``LESSON``, and a row of `LESSONS`. Everything is computed by the
frameworks when it is asked for; nothing here is a stored result.
"""

from k2t_core.inspector.lessons import (
    activations,
    dense,
    epsilon,
    flatten,
    gru,
    inference,
    kernel,
    lstm,
    memory,
    momentum,
    multi_head,
    ones,
    pooling,
    same,
)
from k2t_core.inspector.lessons.activations import ACTIVATIONS, activation_default
from k2t_core.inspector.lessons.dense import dense_kernel
from k2t_core.inspector.lessons.epsilon import batch_norm_epsilon
from k2t_core.inspector.lessons.experiment import AGREES, NEARLY_ALL, OUTCOMES, Answer, Experiment, Lesson
from k2t_core.inspector.lessons.flatten import flatten_order
from k2t_core.inspector.lessons.gru import gru_reset
from k2t_core.inspector.lessons.inference import inference_mode
from k2t_core.inspector.lessons.kernel import convolution_kernel
from k2t_core.inspector.lessons.lstm import BIASES, GATE_ORDERS, KERAS_GATES, TORCH_GATES, lstm_gates
from k2t_core.inspector.lessons.memory import FORMATS, memory_format
from k2t_core.inspector.lessons.momentum import batch_norm_momentum
from k2t_core.inspector.lessons.multi_head import ATTENTION, attention
from k2t_core.inspector.lessons.ones import transposed_kernel
from k2t_core.inspector.lessons.pooling import average_pooling
from k2t_core.inspector.lessons.same import same_padding

# In the order of the page, by the name that stands in a lesson's address.
LESSONS: dict[str, Lesson] = {
    "flatten": flatten.LESSON,
    "dense": dense.LESSON,
    "ones": ones.LESSON,
    "kernel": kernel.LESSON,
    "same": same.LESSON,
    "pooling": pooling.LESSON,
    "memory": memory.LESSON,
    "epsilon": epsilon.LESSON,
    "momentum": momentum.LESSON,
    "inference": inference.LESSON,
    "lstm": lstm.LESSON,
    "gru": gru.LESSON,
    "attention": multi_head.LESSON,
    "activations": activations.LESSON,
}

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
    "LESSONS",
    "Lesson",
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
