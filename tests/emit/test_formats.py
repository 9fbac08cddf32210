"""A format is asked for by its option, comes with the four files or not at all, and goes with them."""

from __future__ import annotations

import pytest

import k2t_core as k2t
from k2t_core.emit.formats import FORMATS, Format
from k2t_core.emit.manifest import FILES
from k2t_core.errors import K2TError


@pytest.fixture
def listing(monkeypatch):
    """A format in the place of ONNX that says which files it found."""

    def write(folder, graph, progress):
        progress(1.0, "Listing")
        (folder / "list.txt").write_text(" ".join(sorted(path.name for path in folder.iterdir())))

    monkeypatch.setitem(FORMATS, "onnx", Format("list.txt", lambda: None, write))


def test_it_is_made_of_the_four_and_goes_with_the_next_conversion(example, tmp_path, listing):
    said = []
    result = k2t.convert(example("dense"), tmp_path, onnx=True, progress=lambda share, text: said.append(text))
    assert result.files == (*FILES, "list.txt") and "Listing" in said
    assert (tmp_path / "list.txt").read_text().split() == sorted(FILES)
    assert k2t.convert(example("dense"), tmp_path).files == FILES
    assert not (tmp_path / "list.txt").exists()


def test_a_format_that_refuses_leaves_nothing(example, tmp_path, monkeypatch):
    def refuse(*given):
        raise K2TError("no list")

    monkeypatch.setitem(FORMATS, "onnx", Format("list.txt", lambda: None, refuse))
    with pytest.raises(K2TError, match="no list"):
        k2t.convert(example("dense"), tmp_path / "out", onnx=True)
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_said_before_anything_is_written(example, tmp_path, monkeypatch):
    def need():
        raise K2TError("it needs a pen")

    monkeypatch.setitem(FORMATS, "onnx", Format("list.txt", need, lambda *given: None))
    with pytest.raises(K2TError, match="a pen"):
        k2t.convert(example("dense"), tmp_path / "out", onnx=True)
    assert not (tmp_path / "out").exists()
