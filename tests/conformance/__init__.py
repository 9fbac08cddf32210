"""Conformance: all of keras.layers and of keras.activations by name, over the options that affect the result."""
