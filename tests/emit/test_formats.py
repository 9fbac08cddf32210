"""A format is asked for by its option, comes with the four files or not at all, and goes with them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

import k2t_core as k2t
from k2t_core.cli import with_formats
from k2t_core.emit import committing
from k2t_core.emit.formats import FORMATS, Format
from k2t_core.emit.manifest import FILES
from k2t_core.errors import K2TError


def nothing(*given) -> None:
    """What a maker does that has nothing to do."""


@pytest.fixture
def add(monkeypatch):
    """Add a format called ``listing`` with these functions."""
    monkeypatch.setattr(committing, "KNOWN", set(committing.KNOWN))
    monkeypatch.setattr("k2t_core.emit.formats.KNOWN", committing.KNOWN)

    def add(write=nothing, need=nothing) -> None:
        maker = SimpleNamespace(need_packages=need, write=write)
        made = Format("list.txt", "List", "counted twice", "k2t[pen]", "to read", lambda: maker)
        monkeypatch.setitem(FORMATS, "listing", made)

    return add


def test_it_is_made_of_the_four_and_goes_with_the_next_conversion(example, tmp_path, add):
    def write(path, graph, progress):
        progress(1.0, "Listing")
        path.write_text(" ".join(sorted(other.name for other in path.parent.iterdir())))

    add(write)
    said = []
    result = k2t.convert(example("dense"), tmp_path, listing=True, progress=lambda share, text: said.append(text))
    assert result.files == (*FILES, "list.txt") and "Listing" in said
    assert (tmp_path / "list.txt").read_text().split() == sorted(FILES)
    assert k2t.convert(example("dense"), tmp_path, listing=False).files == FILES
    assert not (tmp_path / "list.txt").exists()


def test_a_format_that_refuses_leaves_nothing(example, tmp_path, add):
    def refuse(*given):
        raise K2TError("no list")

    add(refuse)
    with pytest.raises(K2TError, match="no list"):
        k2t.convert(example("dense"), tmp_path / "out", listing=True)
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_said_before_anything_is_written(example, tmp_path, add):
    def need():
        raise K2TError("it needs a pen")

    add(need=need)
    with pytest.raises(K2TError, match="a pen"):
        k2t.convert(example("dense"), tmp_path / "out", listing=True)
    assert not (tmp_path / "out").exists()


def test_an_option_of_no_format_is_refused_like_any_unknown_argument(example, tmp_path):
    with pytest.raises(TypeError, match="unexpected keyword argument 'onyx'"):
        k2t.convert(example("dense"), tmp_path / "out", onyx=True)
    assert not (tmp_path / "out").exists()


def test_the_entry_gives_the_switch_of_the_command_line(add):
    add()
    given = []

    def command(model: str, **formats: bool) -> None:
        given.append((model, formats))

    app = typer.Typer()
    app.command()(with_formats(command))
    assert CliRunner().invoke(app, ["m.keras", "--listing"]).exit_code == 0
    assert given == [("m.keras", {"onnx": False, "listing": True})]
    told = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    assert "Write list.txt as well, counted twice. Needs k2t[pen]." in told
