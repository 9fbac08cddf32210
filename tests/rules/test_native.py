"""What stands for operations of TensorFlow: a rule each, what it reads said once. Numbers: keras_side."""

import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from k2t_core.rules.native import ATTRIBUTES, NATIVE, NUMBERS
from k2t_core.rules.registry import find


def test_each_has_a_rule():
    assert all(find(f"k2t.{name}") is not None for name in NATIVE)


def test_what_is_read_is_there():
    for name in NATIVE:
        definition = op_def_registry.get(name)
        attributes = {attribute.name for attribute in definition.attr}
        assert {*ATTRIBUTES.get(name, ()), *NATIVE[name]} <= attributes, name
        assert all(0 <= place < len(definition.input_arg) for place in NUMBERS.get(name, ())), name
        assert hasattr(tf.raw_ops, name)
