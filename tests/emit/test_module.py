"""model.py is imported as a user would import it; what a changed file does is told with its path."""

from __future__ import annotations

import shutil
import sys

import pytest
import torch

from k2t_core.emit.module import compile_module, import_model, load_module
from k2t_core.errors import OutputError


@pytest.fixture
def changed(converted, tmp_path):
    """A copy of a conversion whose model.py has another text."""

    def change(old, new):
        folder = shutil.copytree(converted("dense"), tmp_path / "out")
        text = (folder / "model.py").read_text()
        assert old in text
        (folder / "model.py").write_text(text.replace(old, new))
        return folder

    return change


def test_two_imports_are_two_modules_and_leave_no_bytecode(converted, tmp_path):
    folder = tmp_path / "out"  # of its own: other tests run the shared one in processes of theirs
    shutil.copytree(converted("dense"), folder, ignore=shutil.ignore_patterns("__pycache__"))
    before = sys.dont_write_bytecode
    first, second = import_model(folder), import_model(folder)
    assert first is not second and first.__name__ != second.__name__
    assert not (folder / "__pycache__").exists() and sys.dont_write_bytecode == before


def test_the_module_comes_in_eval_mode(converted):
    assert not load_module(converted("dense")).training


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("import torch", "import torch as", "does not import: SyntaxError"),
        ("def load_model", 'raise ValueError("a\\nb")\n\n\ndef load_model', "does not import: ValueError: a b"),
        ("def load_model", "def load", "has no load_model"),
        ("return model.eval()", "return 3", "returns a int, not a torch.nn.Module"),
        ("return model.eval()", "raise SystemExit(3)", "load_model() fails"),
    ],
)
def test_a_changed_file_is_refused_with_its_path(changed, old, new, words):
    folder = changed(old, new)
    with pytest.raises(OutputError) as refused:
        load_module(folder)
    assert words in str(refused.value) and str(folder / "model.py") in str(refused.value)


def test_no_folder(tmp_path):
    with pytest.raises(OutputError, match="k2t convert MODEL"):
        import_model(tmp_path)


def test_in_double_every_dtype_is_wide():
    source = "import torch\ndef f(x):\n    return x.half() + torch.zeros(1, dtype=torch.float32)"
    assert compile_module(source, double=True)["f"](torch.ones(1)).dtype == torch.float64
    assert compile_module(source)["f"](torch.ones(1)).dtype == torch.float32
