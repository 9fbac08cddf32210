"""Valid files of both versions of Keras and both formats, for a fuzzer to change."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from k2t_core.project.bundled import examples

SMALL = ("dense", "convnet", "lstm", "square")  # of the bundled examples, for the fixed sample


def models(whole: bool) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(name, builder): ``3.dense``. whole: the first case of every layer of both versions as well."""
    from tests.keras_side.keras2.models import LAYERS, MODELS, functional, randomised

    for name in examples().EXAMPLES if whole else SMALL:
        yield f"3.{name}", lambda name=name: examples().make(name)
    if whole:
        from tests.conformance.test_conformance import CASES

        for kind, cases in CASES.items():
            for index, case in enumerate([case for case in cases if case.refused is None][:1]):
                yield f"3.{kind}{index or ''}", case.build
    for name in LAYERS if whole else list(LAYERS)[::40]:
        shape, build = LAYERS[name]
        yield f"2.{name}", lambda shape=shape, build=build: randomised(functional([shape], build))
    for name, make in MODELS.items():
        if whole or name in ("sequential", "nested"):
            yield f"2.{name}", lambda make=make: randomised(make())


def build(folder: Path, whole: bool) -> None:
    """Write them into a folder; what a format cannot hold is left out of it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in models(whole):
        stem = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)
        with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            warnings.simplefilter("ignore")
            try:
                model = make()
            except Exception:  # a case that Keras does not build on this machine
                continue
            for suffix in (".keras", ".h5"):
                path = folder / f"{stem}{suffix}"
                try:
                    model.save(path)
                except (ValueError, TypeError, NotImplementedError, RuntimeError):
                    path.unlink(missing_ok=True)
                else:
                    if path.stat().st_size > 3_000_000:
                        path.unlink()
