"""The command line: output, exit codes, and one line on stderr for everything a user can mend."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from k2t_core import cli
from k2t_core.keras_side.user_rules import load_rules

ROOT = Path(__file__).parent.parent


@pytest.fixture
def k2t(capfd):
    """``k2t("verify", …)`` → (exit code, stdout, stderr)."""

    def run(*arguments) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return stopped.value.code or 0, out, err

    return run


def python(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        **options,
    )


@pytest.mark.parametrize(
    "arguments", [["--help"], ["convert", "--help"], ["verify", "--help"], ["inspect", "--help"], ["app", "--help"]]
)
def test_help_imports_neither_framework(arguments):
    script = f"""
import sys
from k2t_core import cli
from k2t_core.keras_side.user_rules import load_rules
try:
    cli.main({arguments!r})
except SystemExit as stopped:
    print("EXIT", stopped.code, sorted({{"tensorflow", "torch", "keras", "numpy", "pandas"}} & set(sys.modules)))
"""
    done = python("-c", script)
    assert "EXIT 0 []" in done.stdout, done.stdout + done.stderr


def test_convert_says_what_it_wrote_and_how_to_verify(k2t, example, tmp_path):
    code, out, err = k2t("convert", example("convnet"), "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    for name in ("model.py", "model.safetensors", "manifest.json", "recipe.json"):
        assert (tmp_path / "out" / name).is_file() and name in out
    command = next(line for line in out.splitlines() if "k2t verify" in line).split("k2t ", 1)[1]
    code, out, err = k2t(*command.split())
    assert (code, err) == (0, "")
    assert "agrees" in out


def test_in_a_process_of_its_own_stdout_is_json_and_stderr_is_empty(example, converted):
    done = python("-m", "k2t_core.cli", "verify", str(converted("dense")), "--against", str(example("dense")), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["passed"] and report["proves"]
    assert [run["weights"] for run in report["runs"]][:2] == ["model", "randomised"]


def test_inspect(k2t, example):
    code, out, err = k2t("inspect", example("convnet"))
    assert (code, err) == (0, "")
    assert "nn.Conv2d(3, 32, kernel_size=3, padding=1)" in out
    assert "(28, 28, 32)→(32, 28, 28)" in out, "the flatten order is shown"


def test_inspect_json(k2t, example):
    code, out, err = k2t("inspect", example("convnet"), "--json")
    card = json.loads(out)
    assert code == 0 and card["parameters"] == 251_786 and card["problems"] == []
    assert card["inputs"] == [{"name": "image", "shape": [None, 28, 28, 3], "dtype": "float32"}]
    assert [row["type"] for row in card["layers"]] == ["InputLayer", "Conv2D", "Flatten", "Dense"]


def test_a_conversion_that_differs_is_exit_code_1(k2t, example, tmp_path):
    recipe = tmp_path / "wrong.json"
    recipe.write_text(
        json.dumps(
            {
                "k2t_recipe": 1,
                "fingerprint": None,
                "overrides": [{"layer": "flatten", "kind": "alternative", "value": "plain flatten"}],
            }
        )
    )
    assert k2t("convert", example("convnet"), "-o", tmp_path / "out", "--recipe", recipe)[0] == 0
    code, out, err = k2t("verify", tmp_path / "out", "--against", example("convnet"))
    assert code == 1 and "differs" in out and "diverges first" in out
    code, out, err = k2t("verify", tmp_path / "out", "--against", example("convnet"), "--json")
    assert code == 1 and json.loads(out)["first_divergence"] is not None


def test_verify_options(k2t, example, converted, tmp_path):
    batch = np.random.default_rng(0).standard_normal((3, 10)).astype("float32")
    np.savez(tmp_path / "batch.npz", features=batch)
    verify = ["verify", converted("dense"), "--against", example("dense")]
    code, out, _ = k2t(*verify, "--inputs", tmp_path / "batch.npz", "--weights", "model", "--no-edge-cases", "--json")
    report = json.loads(out)
    assert code == 0 and [(run["weights"], run["inputs"]) for run in report["runs"]] == [("model", "batch.npz")]
    code, out, _ = k2t(
        *verify, "--batch", 7, "--seed", 3, "--distribution", "uniform", "--weights", "randomised", "--json"
    )
    assert json.loads(out)["runs"][0]["outputs"][0]["shape"] == [7, 10]
    assert k2t(*verify, "--tolerance", "1e-12")[0] == 1


def test_all_ones_weights_are_said_to_prove_nothing(k2t, example, converted):
    code, out, _ = k2t("verify", converted("all_ones"), "--against", example("all_ones"), "--weights", "model")
    assert code == 0 and "proves nothing" in out and "conv/kernel: every value is 1" in out
    code, out, _ = k2t("verify", converted("all_ones"), "--against", example("all_ones"))
    assert code == 0 and "proves nothing" not in out


def test_a_recipe_replays_to_the_same_bytes(k2t, example, tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(
        json.dumps(
            {
                "k2t_recipe": 1,
                "fingerprint": None,
                "overrides": [
                    {
                        "layer": "flatten",
                        "kind": "alternative",
                        "value": "permute first",
                        "reason": "features in Keras's order",
                    }
                ],
            }
        )
    )
    k2t("convert", example("convnet"), "-o", tmp_path / "a", "--recipe", recipe)
    k2t("convert", example("convnet"), "-o", tmp_path / "b", "--recipe", tmp_path / "a" / "recipe.json")
    for name in ("model.py", "model.safetensors", "manifest.json", "recipe.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert "permute" in (tmp_path / "a" / "model.py").read_text()


@keras.saving.register_keras_serializable("tests")
class Whatever(layers.Layer):
    """A layer that nobody has a rule for."""

    def call(self, x):
        return tf.math.special.dawsn(x)  # no operation of PyTorch's


def unsupported_model(path: Path) -> Path:
    x = inputs = keras.Input((8,), name="features")
    for name in ("noise", "more_noise"):
        x = layers.Dense(8, name=f"{name}_dense")(Whatever(name=name)(x))
    keras.Model(inputs, x).save(path)
    return path


def test_every_unsupported_layer_is_named_and_nothing_is_written(k2t, tmp_path):
    path = unsupported_model(tmp_path / "odd.keras")
    code, out, err = k2t("convert", path, "-o", tmp_path / "out")
    assert code == 2 and out == "" and not (tmp_path / "out").exists()
    assert "'noise'" in err and "'more_noise'" in err and "Whatever" in err
    assert all(line.startswith("k2t: ") for line in err.splitlines())
    code, out, err = k2t("inspect", path)
    assert code == 2 and "unsupported" in out and "'noise'" in err


RULES = """
import keras
from k2t_core import rule
from k2t_core.rules.registry import Mapping


@keras.saving.register_keras_serializable("shop")
class Double(keras.layers.Layer):
    def call(self, x):
        return x * 2.0


@rule("{module}.Double", demand="any", flat="pass")
def double(call):
    return Mapping(f"{{call.x}} * 2.0", gives=(call.layout(),), why="Twice the input.", keras="2x", torch="2x")
"""


def test_a_rules_file_teaches_k2t_a_custom_layer(k2t, tmp_path, monkeypatch):
    rules, model = tmp_path / "shop_rules.py", tmp_path / "shop.keras"
    rules.write_text(RULES.format(module="shop_rules"))
    monkeypatch.setitem(sys.modules, "shop_rules", None)  # undone at the end, whatever is imported in between
    del sys.modules["shop_rules"]
    load_rules(rules)
    keras.Sequential([keras.Input((4,)), layers.Dense(3), sys.modules["shop_rules"].Double(name="twice")]).save(model)
    without = python("-m", "k2t_core.cli", "convert", str(model), "-o", str(tmp_path / "out"))
    assert without.returncode == 2 and "'twice'" in without.stderr and "--rules FILE" in without.stderr
    code, out, err = k2t("convert", model, "-o", tmp_path / "out", "--rules", rules)
    assert code == 0, err
    code, out, err = k2t(*out.splitlines()[-1].split("k2t ", 1)[1].split())
    assert code == 0, out + err


def bad_commands(folder: Path, example, converted) -> dict[str, tuple[list, str]]:
    """What a user may get wrong → (arguments, words that stderr must hold)."""
    dense, out = example("dense"), converted("dense")
    (folder / "notes.keras").write_text("hello")
    (folder / "file").write_text("")
    (folder / "recipe.json").write_text("{}")
    np.save(folder / "wrong.npy", np.zeros((2, 11), "float32"))
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return {
        "missing model": (["convert", folder / "none.keras", "-o", folder / "o"], "none.keras: no such file"),
        "text file": (["convert", folder / "notes.keras", "-o", folder / "o"], "notes.keras: not a Keras model"),
        "folder": (["inspect", folder], "is a folder"),
        "output under a file": (["convert", dense, "-o", folder / "file" / "o"], "cannot write there"),
        "missing recipe": (["convert", dense, "-o", folder / "o", "--recipe", folder / "none.json"], "none.json"),
        "foreign recipe": (
            ["convert", dense, "-o", folder / "o", "--recipe", folder / "recipe.json"],
            "not a k2t recipe",
        ),
        "missing rules": (
            ["convert", dense, "-o", folder / "o", "--rules", folder / "none.py"],
            "none.py: no such file",
        ),
        "not converted": (["verify", folder, "--against", dense], "k2t convert"),
        "wrong model": (["verify", out, "--against", example("square")], "converted from another model"),
        "wrong shape": (["verify", out, "--against", dense, "--inputs", folder / "wrong.npy"], "(2, 11)"),
        "pickled inputs": (["verify", out, "--against", dense, "--inputs", folder / "objects.npy"], "objects.npy"),
        "missing inputs": (
            ["verify", out, "--against", dense, "--inputs", folder / "none.npz"],
            "none.npz: no such file",
        ),
        "distribution": (["verify", out, "--against", dense, "--distribution", "cauchy"], "normal, uniform"),
        "batch": (["verify", out, "--against", dense, "--batch", "0"], "batch size"),
        "app model": (["app", folder / "none.keras"], "none.keras: no such file"),
        "app example": (["app", "--example", "nope"], "convnet"),
        "app both": (["app", dense, "--example", "dense"], "not both"),
    }


CASES = [
    "missing model",
    "text file",
    "folder",
    "output under a file",
    "missing recipe",
    "foreign recipe",
    "missing rules",
    "not converted",
    "wrong model",
    "wrong shape",
    "pickled inputs",
    "missing inputs",
    "distribution",
    "batch",
    "app model",
    "app example",
    "app both",
]


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_exit_code_2(k2t, example, converted, tmp_path, case):
    commands = bad_commands(tmp_path, example, converted)
    assert list(commands) == CASES
    arguments, words = commands[case]
    code, out, err = k2t(*arguments)
    assert code == 2 and out == ""
    assert err.startswith("k2t: ") and err.count("\n") == 1, err
    assert words in err
    assert not (tmp_path / "o").exists(), "nothing half-written"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["convert"],
        ["convert", "x.keras"],
        ["verify", "out"],
        ["nonsense"],
        ["inspect", "x.keras", "--nonsense"],
        ["verify", "o", "--against", "m", "--weights", "ones"],
        ["verify", "o", "--against", "m", "--batch", "many"],
    ],
)
def test_usage_errors_are_exit_code_2(k2t, arguments):
    code, _, err = k2t(*arguments)
    assert code == 2


def test_a_fault_in_k2t_is_not_taken_for_a_difference(capfd, example, tmp_path, monkeypatch):
    """Exit code 1 means that the models differ; a crash is 3 and shows its traceback."""
    from k2t_core.planning import planner

    def broken(*args, **kwargs):
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(planner, "demands", broken)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["inspect", str(example("dense"))])
    assert stopped.value.code == 3
    err = capfd.readouterr().err
    assert "Traceback" in err and "ZeroDivisionError: boom" in err


def test_the_version_and_what_limits_there_are():
    cli = python("-m", "k2t_core.cli", "--version", "-v")
    assert cli.returncode == 0 and cli.stdout.startswith("k2t ")
    assert all(f"\n  {name}: " in cli.stdout for name in ("memory", "cpu", "network", "files"))
    assert python("-m", "k2t_core.cli", "--version").stdout.count("\n") == 1


def test_a_command_that_meets_a_limit_ends_in_a_sentence(example, tmp_path, monkeypatch):
    monkeypatch.setenv("K2T_CPU_SECONDS", "1")
    done = python("-m", "k2t_core.cli", "convert", str(example("dense")), "-o", str(tmp_path / "out"))
    assert done.returncode == 2 and done.stdout == "" and not list(tmp_path.glob("out/*"))
    assert done.stderr == "k2t: the command has ended: its work took more than 1 s of processor time\n"
