"""TensorFlow's operations in a graph of Keras 2, each against tf_keras."""

from k2t_core.keras_side.keras2.operations import OPERATIONS
from tests.keras_side.keras2.models import both, operations, tf_keras


def test_every_operation_is_tried():
    """Under one of the names that TensorFlow gives it."""
    x = tf_keras.Input((4, 3))
    tried = operations(x)
    written = {layer.symbol for layer in tf_keras.Model(x, tried).layers if hasattr(layer, "symbol")}
    assert written <= set(OPERATIONS)
    assert set(OPERATIONS) == set(tried) | written


def test_operations(tmp_path):
    x = tf_keras.Input((4, 3), name="x")
    both(tf_keras.Model(x, list(operations(x).values())), tmp_path / "operations.h5")
