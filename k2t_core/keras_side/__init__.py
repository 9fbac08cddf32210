"""All that touches Keras: reading a model, following its layers, running it."""
