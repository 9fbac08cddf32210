"""Layers of a user's own that call TensorFlow: what tests of recording share."""

from __future__ import annotations

from keras import layers


class Own(layers.Layer):
    """call() is a function of tensors."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function = function

    def call(self, *tensors):
        return self.function(*tensors)

    def get_config(self):
        """Of a function there is no config: what is read of the model does without."""
        return {"name": self.name}
