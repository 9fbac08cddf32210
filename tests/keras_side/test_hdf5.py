"""HDF5 files that point out of themselves, or declare what they do not hold."""

from __future__ import annotations

import io
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tf_keras

import k2t_core as k2t
from k2t_core.errors import ModelFileError
from k2t_core.keras_side.hdf5 import check_hdf5

SECRET = np.arange(12, dtype="float32")


def external(file, tmp_path):
    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    file.create_dataset("w", (3, 4), "float32", external=[(str(tmp_path / "secret.bin"), 0, SECRET.nbytes)])


def virtual(file, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = SECRET
    layout = h5py.VirtualLayout((12,), "float32")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (12,))
    file.create_virtual_dataset("w", layout)


def soft_link(file, tmp_path):
    file["here"] = SECRET
    file["group/w"] = h5py.SoftLink("/here")


def external_link(file, tmp_path):
    file["w"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/x")


def dangling_link(file, tmp_path):
    file["w"] = h5py.SoftLink("/nowhere")


def unstored(file, tmp_path):
    file.create_dataset("w", (10**6, 10**5), "float32")


def unstored_chunks(file, tmp_path):
    file.create_dataset("w", (10**6, 10**5), "float32", chunks=(100, 100), compression="gzip")


def bomb(file, tmp_path):
    file.create_dataset("w", data=np.zeros((6000, 6000)), chunks=(3000, 3000), compression="gzip", compression_opts=9)


def unknown_filter(file, tmp_path):
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((12,))
    properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
    dataset = h5py.h5d.create(file.id, b"w", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((12,)), properties)
    h5py.Dataset(dataset)[:] = SECRET


def text(file, tmp_path):
    file["w"] = "words"


def deep(file, tmp_path):
    group = file
    for _ in range(80):
        group = group.create_group("g")
    group["w"] = SECRET


HOSTILE = {
    external: "another file",
    virtual: "other files",
    soft_link: "leads elsewhere",
    external_link: "leads elsewhere",
    dangling_link: "leads elsewhere",
    unstored: "nothing is stored",
    unstored_chunks: "nothing is stored",
    bomb: "absurd shape",
    unknown_filter: "filter 32015",
    text: "holds text",
    deep: "without end",
}


@pytest.mark.parametrize("make", HOSTILE, ids=lambda f: f.__name__)
def test_refused_by_the_name_of_the_dataset(make, tmp_path):
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        make(file, tmp_path)
    with pytest.raises(ModelFileError, match=HOSTILE[make]) as refusal:
        check_hdf5(path, path.name, path.stat().st_size)
    assert str(refusal.value).startswith("weights.h5: ") and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "options", [{}, {"chunks": True}, {"compression": "gzip", "shuffle": True}, {"compression": "lzf"}]
)
def test_what_stands_in_the_file_passes(options, tmp_path):
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("a/w", data=np.random.default_rng(0).normal(size=(50, 40)), **options)
        file["scalar"] = 3.0
        file["empty"] = np.zeros((0, 4))
        file["text"] = np.array([b"words"])
        file["none"] = h5py.Empty("f")
        file["a/circle"] = file["/"]
        file["twice"] = file["a/w"]
        file.attrs["model_config"] = "{}" * 1000
    check_hdf5(path, path.name, path.stat().st_size)
    check_hdf5(io.BytesIO(path.read_bytes()), path.name, path.stat().st_size)


def small(package):
    x = package.Input((4,))
    return package.Model(x, package.layers.Dense(3, name="dense")(x))


def poison(file, tmp_path):
    """Every kernel from another file of the machine."""
    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    found = []
    file.visititems(
        lambda path, item: found.append(path) if isinstance(item, h5py.Dataset) and item.shape == (4, 3) else None
    )
    assert found
    for path in found:
        del file[path]
        file.create_dataset(path, (4, 3), "float32", external=[(str(tmp_path / "secret.bin"), 0, SECRET.nbytes)])


@pytest.mark.parametrize("package", [keras, tf_keras], ids=["keras3", "keras2"])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_no_door_lets_a_local_file_into_the_weights(package, suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    small(package).save(path)
    if suffix == ".h5":
        with h5py.File(path, "r+") as file:
            poison(file, tmp_path)
    else:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with open(tmp_path / "inner.h5", "wb") as inner:
            inner.write(parts["model.weights.h5"])
        with h5py.File(tmp_path / "inner.h5", "r+") as file:
            poison(file, tmp_path)
        parts["model.weights.h5"] = (tmp_path / "inner.h5").read_bytes()
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in parts.items():
                archive.writestr(name, data)
    for run in (k2t.load, k2t.plan, lambda p: k2t.convert(p, tmp_path / "out")):
        with pytest.raises(ModelFileError, match="another file"):
            run(path)
    assert not (tmp_path / "out").exists()
