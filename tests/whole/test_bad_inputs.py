"""What a person can get wrong about the files of a verification.

A line on stderr that says what to do, exit code 2, nothing lost.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import k2t_core as k2t
from k2t_core import cli
from k2t_core.keras_side import memory
from k2t_core.verification.alone import probe

ROOT = Path(__file__).parent.parent.parent


def tampered(change):
    """model.safetensors with its entries changed."""

    def edit(folder: Path) -> None:
        entries = load_file(folder / "model.safetensors")
        change(entries)
        save_file(entries, folder / "model.safetensors", metadata={"format": "pt"})

    return edit


def written(old: str, new: str):
    def edit(folder: Path) -> None:
        text = (folder / "model.py").read_text()
        assert old in text
        (folder / "model.py").write_text(text.replace(old, new, 1))

    return edit


def batch(array):
    return lambda folder: np.save(folder / "batch.npy", array)


def endless(folder: Path) -> None:
    """A file that says it holds four tebibytes, and takes no room."""
    rows = 2**40 // 10
    with open(folder / "batch.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, 10)})
        file.truncate(file.tell() + rows * 40)


# what is wrong → (what is done to a conversion of the dense example, words of the message)
CASES = {
    "NaN in the inputs": (batch(np.full((2, 10), np.nan, "float32")), "'features' holds NaN or infinity"),
    "inf in the inputs": (batch(np.full((2, 10), np.inf, "float32")), "'features' holds NaN or infinity"),
    "text": (batch(np.full((2, 10), "a")), "not numbers"),
    "complex": (batch(np.zeros((2, 10), "complex64")), "not numbers"),
    "wrong shape": (batch(np.zeros((2, 11), "float32")), "has shape (2, 11), the model takes (any, 10)"),
    "wrong rank": (batch(np.zeros(10, "float32")), "has shape (10,)"),
    "no samples": (batch(np.zeros((0, 10), "float32")), "batch size of at least 1"),
    "too many arrays": (
        lambda folder: np.savez(folder / "batch.npz", np.zeros((2, 10), "float32"), np.zeros((2, 10), "float32")),
        "2 arrays for a model of 1 inputs",
    ),
    "too large for float32": (
        batch(np.full((2, 10), 1e300)),
        "holds numbers up to 1e+300, beyond the range of float32",
    ),
    "a kind of file that is not read": (
        lambda folder: (folder / "batch.txt").write_text("1 2 3"),
        "not a kind of file that inputs are read from",
    ),
    "more data than memory": (endless, "GiB of memory are free; give fewer samples"),
    "forward raises": (
        written("    def forward(self, x):", "    def forward(self, x):\n        raise RuntimeError('no')"),
        "forward() raises RuntimeError: no",
    ),
    "forward raises in a layer": (
        written("self.hidden(x)", "self.hidden(x[:, :3])"),
        "layer 'hidden' does not get done",
    ),
    "a dict": (
        written("return x", "return {'x': x}"),
        "forward() returns a dict, and the Keras model has one output; return a tensor",
    ),
    "None": (written("return x", "return None"), "forward() returns a NoneType"),
    "two tensors": (
        written("return x", "return x, x"),
        "forward() returns 2 outputs, and the Keras model has one output",
    ),
    "does not import": (written("import torch", "import torhc"), "does not import"),
    "missing key": (tampered(lambda s: s.pop(next(iter(s)))), "model.safetensors does not fit"),
    "extra key": (tampered(lambda s: s.update(more=next(iter(s.values())).clone())), "model.safetensors does not fit"),
    "another shape": (
        tampered(lambda s: s.update({k: v[:1].clone() for k, v in s.items()})),
        "model.safetensors does not fit",
    ),
    "exits at import": (
        written("from pathlib", "import sys; sys.exit(0)\nfrom pathlib"),
        "does not import: SystemExit: 0",
    ),
    "exits in forward": (
        written("    def forward(self, x):", "    def forward(self, x):\n        raise SystemExit(0)"),
        "forward() raises SystemExit: 0",
    ),
    "one tensor in a list": (
        written("return x", "return [x]"),
        "forward() returns a list, and the Keras model has one output; return a tensor",
    ),
    "no module": (
        written("return model.eval()", "return model.eval().forward"),
        "load_model() returns a method, not a torch.nn.Module",
    ),
    "a recipe that is a list": (lambda folder: (folder / "recipe.json").write_text("[1, 2]"), "not a k2t recipe"),
    "a recipe for layer 3": (
        lambda folder: (folder / "recipe.json").write_text(
            '{"k2t_recipe": 1, "overrides": [{"layer": 3, "kind": "cut", "value": null}]}'
        ),
        "names its layer and its reason in words",
    ),
    "no safetensors": (lambda folder: (folder / "model.safetensors").write_bytes(b"hello"), "model.safetensors"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_exit_code_2_and_nothing_lost(case, example, converted, tmp_path, capfd):
    change, words = CASES[case]
    # other tests import the model.py of this conversion, and Python leaves its bytecode beside it
    folder = Path(shutil.copytree(converted("dense"), tmp_path / "out", ignore=shutil.ignore_patterns("__pycache__")))
    if case == "forward raises in a layer" and "self.hidden(x)" not in (folder / "model.py").read_text():
        name = (
            next(line for line in (folder / "model.py").read_text().splitlines() if "(x)" in line and "self." in line)
            .split("self.", 1)[1]
            .split("(")[0]
        )
        change, words = written(f"self.{name}(x)", f"self.{name}(x[:, :3])"), f"layer {name!r} does not get done"
    change(folder)
    before = {
        p.name: (p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest() if p.stat().st_size < 2**30 else "")
        for p in folder.iterdir()
    }
    given = next(
        (
            ["--inputs", str(folder / name)]
            for name in ("batch.npy", "batch.npz", "batch.txt")
            if (folder / name).exists()
        ),
        [],
    )
    capfd.readouterr()
    with pytest.raises(SystemExit) as stopped:
        cli.main(
            ["verify", str(folder), "--against", str(example("dense")), *given, "--html", str(tmp_path / "report.html")]
        )
    out, err = capfd.readouterr()
    assert stopped.value.code == 2 and out == ""
    assert err.startswith("k2t: ") and err.count("\n") == 1, err
    assert words in err, err
    assert not (tmp_path / "report.html").exists()
    assert before == {
        p.name: (p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest() if p.stat().st_size < 2**30 else "")
        for p in folder.iterdir()
    }


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers(value, tmp_path):
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Dense(3, name="dense")(x))
    kernel = np.array(model.get_layer("dense").kernel)
    kernel[1, 2] = value
    model.get_layer("dense").kernel.assign(kernel)
    model.save(tmp_path / "m.keras")
    k2t.convert(tmp_path / "m.keras", tmp_path / "out")
    run = [
        sys.executable,
        "-m",
        "k2t_core.cli",
        "verify",
        str(tmp_path / "out"),
        "--against",
        str(tmp_path / "m.keras"),
    ]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (
        done.returncode == 2
        and done.stderr.count("\n") == 1
        and "'dense/kernel' holds NaN or infinity in 1 of 12 places" in done.stderr
    ), done.stderr
    done = subprocess.run([*run, "--weights", "randomised"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "agrees" in done.stdout, done.stderr


def test_a_batch_that_does_not_fit_is_refused_with_one_that_does(example, converted, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 50 * 2**20)
    with pytest.raises(
        k2t.InputError,
        match="a batch of 5000 takes about .* in this model, and 50.0 MiB of memory are free; "
        r"give fewer samples, such as \d+",
    ):
        k2t.verify(converted("unet"), example("unet"), batch=5000)


def test_a_large_model_is_compared_in_chunks_with_the_same_result(example, converted, monkeypatch):
    whole = k2t.verify(converted("unet"), example("unet"), batch=2, edge_cases=False)
    monkeypatch.setattr(memory, "CHUNK_BYTES", 200_000)
    said = []
    parts = k2t.verify(
        converted("unet"),
        example("unet"),
        batch=2,
        edge_cases=False,
        progress=lambda share, text: said.append((share, text)),
    )
    assert parts.to_json() == whole.to_json()
    assert any("part 3 of" in text for _, text in said) and [share for share, _ in said] == sorted(
        share for share, _ in said
    )


def edited(folder: Path, converted, old: str, new: str) -> Path:
    shutil.copytree(converted("dense"), folder)
    written(old, new)(folder)
    return folder


def test_what_a_model_prints_is_not_the_report(example, converted, tmp_path, capfd):
    folder = edited(
        tmp_path / "out", converted, "    def forward(self, x):", "    def forward(self, x):\n        print('hello')"
    )
    with pytest.raises(SystemExit) as stopped:
        cli.main(["verify", str(folder), "--against", str(example("dense")), "--json"])
    out, err = capfd.readouterr()
    assert stopped.value.code is None or stopped.value.code == 0
    assert json.loads(out)["passed"] and "hello" in err


def test_a_module_may_work_in_place(example, converted, tmp_path):
    folder = edited(
        tmp_path / "out",
        converted,
        "    def forward(self, x):",
        "    def forward(self, x):\n        x = F.elu_(x.mul_(1))",
    )
    wrong = k2t.verify(folder, example("dense"), edge_cases=False)
    shutil.rmtree(folder)
    edited(folder, converted, "return x", "y = x.clone()\n        x.zero_()\n        return y")
    assert not wrong.passed and k2t.verify(folder, example("dense"), edge_cases=False).passed


def test_gradients_that_torch_cannot_compute_are_told(example, converted, tmp_path):
    folder = edited(tmp_path / "out", converted, "return x", "y = x.clone()\n        x.zero_()\n        return y")
    report = k2t.verify(folder, example("dense"), training=True, edge_cases=False)
    assert (
        all(run.passed for run in report.runs)
        and not report.passed
        and "backward() raises RuntimeError" in report.verdict
    )
    with pytest.raises(k2t.OutputError, match="backward\\(\\) raises RuntimeError"):
        k2t.verify(folder, example("dense"), search=1, edge_cases=False)


def test_a_layer_looked_at_alone_may_work_in_place():
    x = keras.Input((6,))
    traced = k2t.trace(k2t.load(keras.Model(x, keras.layers.ELU(name="elu")(keras.layers.Dense(5)(x)))))
    patient = probe(traced, "elu", [np.random.default_rng(0).normal(size=(2, 6)).astype("float32")])
    recipe = k2t.Recipe().with_override(k2t.Override("elu", "snippet", "F.elu(x.mul_(1.5).div_(1.5), inplace=True)"))
    assert [patient.judge(recipe).passed for _ in range(3)] == [True] * 3


def test_a_module_in_training_mode_and_one_of_another_dtype_say_so(example, converted, tmp_path):
    folder = edited(tmp_path / "one", converted, "return model.eval()", "return model.train()")
    assert any("in training mode" in note for note in k2t.verify(folder, example("dense"), edge_cases=False).notes)
    folder = edited(tmp_path / "other", converted, "return x", "return x.double()")
    assert any(
        "is float64, in Keras float32" in note for note in k2t.verify(folder, example("dense"), edge_cases=False).notes
    )


@pytest.mark.parametrize(
    "change, words",
    [("x[:1]", "has shape (1, 10), in Keras (4, 10)"), ("x * float('nan')", "holds NaN or infinity on one side")],
)
def test_the_verdict_says_what_an_infinite_difference_is(change, words, example, converted, tmp_path):
    report = k2t.verify(
        edited(tmp_path / "out", converted, "return x", f"return {change}"), example("dense"), edge_cases=False
    )
    assert not report.passed and words in report.verdict


def test_what_keras_itself_refuses_is_no_fault_of_k2t(tmp_path):
    x = keras.Input((None,), dtype="int32")
    model = keras.Model(x, keras.layers.Embedding(4, 3)(x * 2))  # a table that random numbers run out of
    k2t.convert(model, tmp_path)
    with pytest.raises(k2t.InputError, match=r"Keras itself refuses this batch: .*Embedding.*is not in \[0, 4\)"):
        k2t.verify(tmp_path, model)
    report = k2t.verify(tmp_path, model, inputs=np.array([[0, 1, 1]]))
    assert (
        report.passed
        and not [note for note in report.notes if "zeros" in note]
        and any("Not compared on other sizes" in note for note in report.notes)
    )
    with pytest.raises(k2t.InputError, match="there is nothing in it"):
        k2t.verify(tmp_path, model, inputs=np.zeros((2, 0), int))


def test_tokens_that_arrive_as_floats_are_not_made_large(tmp_path):
    x = keras.Input((None,))
    model = keras.Model(x, keras.layers.Embedding(4, 3)(x))
    k2t.convert(model, tmp_path)
    report = k2t.verify(tmp_path, model)
    assert report.passed and any("large" in run.inputs for run in report.runs) and not report.notes


@pytest.mark.parametrize(
    "options, words", [({"seed": -1}, "the seed is -1"), ({"search": -1}, "the search has -1 starts")]
)
def test_numbers_that_make_no_sense(options, words, example, converted):
    with pytest.raises(k2t.K2TError, match=words):
        k2t.verify(converted("dense"), example("dense"), **options)
