"""How Keras is run: operation by operation, or compiled by XLA where TensorFlow has no CPU kernel for one.

Which kernels there are depends on the processor: those of oneDNN take channels-first tensors, TensorFlow's own refuse
them, and oneDNN is in force by default only where the instruction set is recent (`TF_ENABLE_ONEDNN_OPTS` overrules
that). XLA compiles every layout. It also takes what a kernel refuses for good reason (a token beyond a vocabulary), so
only the operation that has no kernel is compiled, and never the whole model around it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from k2t_core.keras_side.internals import mask_of, set_mask

# As TensorFlow's kernels word it (strings in libtensorflow_cc.so): "The Conv2D op currently only supports the NHWC
# tensor format on the CPU", "Current CPU implementations do not yet support dilation rates larger than 1", "Default
# MaxPoolingOp only supports NHWC", "Gradients for grouped convolutions are not supported on CPU", "Could not find
# device for node", "No registered 'X' OpKernel".
NO_KERNEL = re.compile(
    r"only support\w* (for )?(the )?ND?HWC|\bCPU\b.*\b(support|implement)|\b(support|implement)(s|ed)?\b.*\bCPU\b"
    r"|not yet support dilation|Could not find device for node|No registered '\w+' OpKernel"
)
TENSOR = "tensor"


def lacks_kernel(error: BaseException) -> bool:
    """Whether TensorFlow refused an operation for want of a kernel, and not for the numbers that it was given."""
    from tensorflow.errors import InvalidArgumentError, NotFoundError, UnimplementedError

    if isinstance(error, UnimplementedError):
        return True
    return isinstance(error, (InvalidArgumentError, NotFoundError)) and NO_KERNEL.search(str(error)) is not None


@cache  # the kernels of a process stay the same
def kernels_take_channels_first() -> bool:
    """Whether TensorFlow's CPU kernels convolve tensors with channels first, found out on one pixel."""
    import tensorflow as tf

    try:
        with tf.device("CPU"):
            tf.nn.conv2d(
                np.ones((1, 1, 1, 1), "float32"), np.ones((1, 1, 1, 1), "float32"), 1, "VALID", data_format="NCHW"
            )
    except tf.errors.OpError as error:
        if lacks_kernel(error):
            return False
        raise
    return True


def run(
    operation: Callable,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    compiled: MutableMapping[int, Any] | None = None,
) -> Any:
    """What ``operation`` makes of its arguments, as it is or else compiled by XLA; masks of Keras arrive and leave.

    compiled: id of an operation → its compiled form. It remembers what has no kernel, for operations that live as long
    and stay as they are. None compiles anew.

    Raises what the operation raises: where XLA cannot compile it either, that is the kernels' refusal.
    """
    compiled = {} if compiled is None else compiled
    if id(operation) in compiled:
        return compiled[id(operation)](args, kwargs)
    try:
        return operation(*args, **kwargs)
    except Exception as error:
        if not lacks_kernel(error):
            raise
        instead = Compiled(operation)
        try:
            result = instead(args, kwargs)
        except Exception as other:
            raise error from other
        compiled[id(operation)] = instead
        return result


def outputs(model: Any, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of a Keras model in inference mode, flat, for one array for each input: as `run` computes them."""
    from keras import tree

    given = list(arrays) if len(arrays) > 1 else arrays[0]
    return [np.asarray(y) for y in tree.flatten(run(model, (given,), {"training": False}))]


class Compiled:
    """An operation of Keras compiled by XLA, once for each form and shape of its arguments."""

    def __init__(self, operation: Callable):
        self.operation = operation
        self.functions: dict[str, Callable] = {}  # arguments in words, without their tensors → function of the tensors

    def __call__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        import tensorflow as tf
        from keras import tree

        leaves = tree.flatten((args, kwargs))
        places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, (tf.Tensor, np.ndarray))]
        tensors = [tf.convert_to_tensor(leaves[place]) for place in places]
        masks = [mask_of(leaves[place]) for place in places]
        others = tree.pack_sequence_as(
            (args, kwargs), [TENSOR if place in places else leaf for place, leaf in enumerate(leaves)]
        )
        words = repr(others)
        if words not in self.functions:
            self.functions[words] = self._function(others, places)
        result, found = self.functions[words](tensors, masks)
        for y, mask in zip(tree.flatten(result), found):
            if mask is not None:
                set_mask(y, mask)
        return result

    def _function(self, others: Any, places: list[int]) -> Callable:
        """others: the nest of arguments, with the word tensor at ``places``.

        It lives as long as the function, so no id in the words comes again.
        """
        import tensorflow as tf
        from keras import tree

        @tf.function(jit_compile=True, autograph=False)
        def function(tensors: list[Any], masks: list[Any]) -> tuple[Any, list[Any]]:
            leaves = tree.flatten(others)
            for place, tensor, mask in zip(places, tensors, masks):
                leaves[place] = tensor
                if mask is not None:
                    set_mask(tensor, mask)
            args, kwargs = tree.pack_sequence_as(others, leaves)
            result = self.operation(*args, **kwargs)
            return result, [mask_of(y) for y in tree.flatten(result)]

        return function
