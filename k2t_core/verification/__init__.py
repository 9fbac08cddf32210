"""Run Keras and the written module on the same batch and judge the difference, layer by layer."""

from k2t_core.verification.verifying import verify

__all__ = ["verify"]
