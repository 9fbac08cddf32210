"""Run Keras and the written module on the same batch and judge the difference, layer by layer."""
