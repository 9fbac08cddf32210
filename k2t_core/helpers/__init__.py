"""Functions and modules that generated files carry where torch has no equal. Copied into model.py only when used.

These are ordinary, importable torch modules, one a family, so that each helper is tested on its own. A helper may use
``math``, ``torch``, ``nn``, ``F`` and other helpers, nothing else; its name must be unique over all files.
"""
