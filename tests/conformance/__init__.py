"""Conformance: every class of keras.layers and every name of keras.activations, over the options that affect the result."""
