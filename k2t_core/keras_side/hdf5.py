"""A walk through an HDF5 file before anybody loads it: what is in it must be in it, and be as large as it says.

HDF5 can point out of the file: a dataset's numbers may lie in any other file of the machine (external storage), a
dataset may be put together from others (virtual), a name may lead elsewhere (soft and external links). A loader
follows all of them, and a local file would end as a weight. A dataset may also declare a shape of which nothing is
stored: it reads as its fill value, and takes the memory all the same. Keras writes none of this.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from k2t_core.errors import ModelFileError, one_line

# What the datasets may unpack to: so much in any case, else so many times the file.
HARMLESS_BYTES = 64 * 2**20
MAX_RATIO = 200
# What h5py raises of a damaged file, whichever of its numbers or texts was hit.
DAMAGE = (OSError, LookupError, ValueError, RuntimeError, TypeError, ArithmeticError)
MAX_OBJECTS = 1_000_000
MAX_DEPTH = 64
# Filters that HDF5 itself brings, and h5py's LZF; any other would be a library that is looked for at run time.
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 6: "scaleoffset", 32000: "lzf"}


def check_hdf5(file: str | Path | IO[bytes], name: str, stored: int) -> None:
    """Refuse an HDF5 file that points out of itself, or asks for more memory than what is stored can fill.

    file: a path, or an open binary file. name: what messages call it. stored: its size in bytes.

    Raises ModelFileError, which names the dataset or link.
    """
    import h5py

    try:
        with h5py.File(file, "r") as opened:
            total = 0
            for path, dataset in _datasets(opened, name):
                _check_dataset(path, dataset, name)
                total += _declared(dataset)
                if total > max(HARMLESS_BYTES, MAX_RATIO * stored):
                    raise ModelFileError(
                        f"{name}: an absurd shape: up to dataset {path!r} it declares {total:,} bytes, "
                        f"and is {stored:,} bytes large"
                    )
    except DAMAGE as error:
        raise ModelFileError(
            f"{name}: the HDF5 file is truncated or damaged ({one_line(error)}); save or copy it again"
        ) from error


def _datasets(file: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(path, dataset) of every dataset, each object once: hard links can make circles."""
    import h5py

    seen: set[int] = set()
    stack: list[tuple[str, Any, int]] = [("", file, 0)]
    while stack:
        path, group, depth = stack.pop()
        for key in group:
            inner = f"{path}/{key}"
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise ModelFileError(
                    f"{name}: {inner!r} is a link that leads elsewhere, which no file of Keras holds; "
                    "the file is not trusted"
                )
            found = group[key]
            address = h5py.h5o.get_info(found.id).addr
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > MAX_OBJECTS or depth > MAX_DEPTH:
                raise ModelFileError(
                    f"{name}: its HDF5 groups go on without end at {inner[:80]!r}; the file is not trusted"
                )
            if isinstance(found, h5py.Group):
                stack.append((inner, found, depth + 1))
            elif isinstance(found, h5py.Dataset):
                yield inner, found


def _check_dataset(path: str, dataset: Any, name: str) -> None:
    properties = dataset.id.get_create_plist()
    if dataset.external:
        raise ModelFileError(
            f"{name}: dataset {path!r} takes its numbers from another file, {str(dataset.external[0][0])!r}; "
            "the file is not trusted"
        )
    if dataset.is_virtual:
        raise ModelFileError(f"{name}: dataset {path!r} is put together from other files; the file is not trusted")
    for index in range(properties.get_nfilters()):
        code = properties.get_filter(index)[0]
        if code not in FILTERS:
            raise ModelFileError(
                f"{name}: dataset {path!r} is packed with filter {code}, which HDF5 does not bring along; "
                "save the model again"
            )
    if dataset.dtype.hasobject:  # of any length, many of which can be one place in the file
        raise ModelFileError(
            f"{name}: dataset {path!r} holds text or references, and weights are numbers; save the model again"
        )
    if _declared(dataset) and not dataset.id.get_storage_size():
        raise ModelFileError(
            f"{name}: an absurd shape: dataset {path!r} declares the shape {dataset.shape}, of which nothing is stored"
        )


def _declared(dataset: Any) -> int:
    """The bytes that a dataset takes in memory."""
    return math.prod(dataset.shape or ()) * dataset.dtype.itemsize if dataset.shape is not None else 0
