"""Model files taken apart and put together again, so that one part of them can be another than Keras wrote it."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py

FORMS = ("3.keras", "3.h5", "2.keras", "2.h5")  # the version of Keras that wrote it, and the format
WEIGHTS = "model.weights.h5"


@dataclass
class Parts:
    """form: one of FORMS. config: as JSON has it. h5: the HDF5 file that holds the weights; of an .h5 file, itself.
    members: what else is in the archive of a .keras file, by name, but for config.json.
    text: config.json, where it is not simply the config.
    """

    form: str
    config: Any
    h5: bytes
    members: list[tuple[str | zipfile.ZipInfo, bytes]] = field(default_factory=list)
    text: bytes | None = None
    compression: int = zipfile.ZIP_STORED

    @property
    def is_archive(self) -> bool:
        return self.form.endswith(".keras")

    @property
    def suffix(self) -> str:
        return self.form[1:]

    @staticmethod
    def read(path: Path, form: str) -> Parts:
        if not form.endswith(".keras"):
            with h5py.File(path, "r") as file:
                return Parts(form, json.loads(file.attrs["model_config"]), path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            found = {name: archive.read(name) for name in archive.namelist()}
        config, h5 = json.loads(found.pop("config.json")), found.pop(WEIGHTS)
        return Parts(form, config, h5, list(found.items()))

    def edit(self, change: Callable[[Any], object]) -> None:
        """``change`` gets the open HDF5 file."""
        held = io.BytesIO(self.h5)
        with h5py.File(held, "r+") as file:
            change(file)
        self.h5 = held.getvalue()

    def write(self, path: Path) -> Path:
        """The file, with the config in its place. What JSON cannot say (NaN) is written as Python writes it."""
        config = json.dumps(self.config).encode() if self.text is None else self.text
        if not self.is_archive:

            def put(file: Any) -> None:
                if "model_config" in file.attrs:
                    del file.attrs["model_config"]
                value = config.decode("utf-8", "surrogateescape")
                try:
                    file.attrs["model_config"] = value
                except (ValueError, UnicodeEncodeError):  # a NUL in it, or half of a character
                    file.attrs["model_config"] = h5py.Empty("S1")

            self.edit(put)
            path.write_bytes(self.h5)
            return path
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
            warnings.simplefilter("ignore")  # of a name that comes twice
            for name, data in [("config.json", config), (WEIGHTS, self.h5), *self.members]:
                # Without the time of day, so that the same parts are the same bytes.
                archive.writestr(zipfile.ZipInfo(name) if isinstance(name, str) else name, data, self.compression)
        return path


def layers_of(config: Any) -> list[dict[str, Any]]:
    """The configs of the layers of a model's config, as the file has them (``{"class_name": …, "config": …}``)."""
    return config["config"]["layers"]


def layer(config: Any, name: str) -> dict[str, Any]:
    return next(item for item in layers_of(config) if (item.get("name") or item["config"]["name"]) == name)
