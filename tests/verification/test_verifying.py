"""Verdicts: a right conversion agrees, every wrong override is caught and named, weak weights are called weak."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from safetensors.torch import load_file, save_file

import k2t_core as k2t
from k2t_core.difference import Difference
from k2t_core.keras_side.batches import DISTRIBUTIONS
from k2t_core.keras_side.randomise import randomise
from k2t_core.project.bundled import examples

NAMES = list(examples().EXAMPLES)


def with_override(model: Path, folder: Path, layer: str, kind: str, value) -> k2t.Recipe:
    recipe = k2t.Recipe().with_override(k2t.Override(layer, kind, value, "a wrong one, to be caught"))
    k2t.convert(model, folder, recipe)
    return recipe


# Right conversions


@pytest.mark.parametrize("name", NAMES)
def test_every_example_agrees_layer_by_layer(name, converted, example):
    report = k2t.verify(converted(name), example(name), batch=3)
    assert report.passed and report.proves, report.verdict
    assert report.first_divergence is None and report.verdict.startswith("agrees")
    assert {run.weights for run in report.runs} == {"model", "randomised"}
    for run in report.runs[:2]:
        assert max(o.difference.relative for o in run.outputs) <= 1e-5
        assert len(run.layers) >= 2, "layers are compared, not outputs alone"
    assert any("zeros" in run.inputs for run in report.runs[2:]), "edge cases are evidence too"


def test_the_users_model_is_left_alone(converted, example):
    source = k2t.load(example("dense"))
    before = [v.numpy().copy() for v in source.model.variables]
    k2t.verify(converted("dense"), source, weights="randomised")
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, source.model.variables))


def test_the_same_seed_gives_the_same_report(converted, example):
    first, second = (k2t.verify(converted("convnet"), example("convnet"), seed=4).to_json() for _ in range(2))
    assert first == second
    assert k2t.verify(converted("convnet"), example("convnet"), seed=5).to_json() != first


def test_report_as_json(converted, example):
    data = json.loads(json.dumps(k2t.verify(converted("two_in_two_out"), example("two_in_two_out")).to_json()))
    assert data["passed"] is True and data["reference"]["package"] == "keras"
    assert [o["name"] for o in data["runs"][0]["outputs"]] == ["kind", "price"]


@pytest.mark.parametrize("distribution", list(DISTRIBUTIONS))
def test_distributions(converted, example, distribution):
    assert k2t.verify(converted("unet"), example("unet"), batch=2, distribution=distribution).passed


def test_the_users_own_batch(converted, example, tmp_path):
    rng = np.random.default_rng(0)
    image, row = rng.random((2, 16, 20, 3), "float32"), rng.random((2, 6), "float32")
    np.savez(tmp_path / "named.npz", row=row, image=image)
    np.savez(tmp_path / "ordered.npz", image, row)
    folder, model = converted("two_in_two_out"), example("two_in_two_out")
    named, ordered = (
        k2t.verify(folder, model, inputs=tmp_path / name, weights="model") for name in ("named.npz", "ordered.npz")
    )
    assert named.passed and np.array_equal(named.outputs[0].torch, ordered.outputs[0].torch)
    assert np.array_equal(
        k2t.verify(folder, model, inputs=[image, row], weights="model").outputs[0].torch, named.outputs[0].torch
    )


# Wrong overrides


def test_plain_flatten_is_caught(example, tmp_path):
    with_override(example("convnet"), tmp_path, "flatten", "alternative", "plain flatten")
    report = k2t.verify(tmp_path, example("convnet"))
    assert not report.passed and "differs" in report.verdict
    assert report.first_divergence == "flatten"
    assert (
        report.causes[0].explains and "plain flatten" in report.causes[0].text and not report.causes[0].recipe.overrides
    )
    assert report.outputs[0].difference.relative > 1e-2


def test_a_missing_transpose_on_a_square_kernel_is_caught(example, tmp_path):
    with_override(example("square"), tmp_path, "square2", "permutation", {"key": "weight", "axes": [0, 1]})
    report = k2t.verify(tmp_path, example("square"))
    assert not report.passed and report.first_divergence == "square2"
    passed = {layer.layer: layer.passed for layer in report.layers}
    assert passed == {"square1": True, "square2": False}, "the layer before it is not blamed"


def test_swapped_lstm_gates_are_caught(example, tmp_path):
    from k2t_core.planning.plan import rows

    row = next(r for r in rows(k2t.plan(example("lstm"))) if r.layer == "lstm")
    names = [a.name for a in row.alternatives]
    assert names, "the LSTM offers other readings of its gates"
    reports = {}
    for index, name in enumerate(names):
        folder = tmp_path / str(index)
        with_override(example("lstm"), folder, "lstm", "alternative", name)
        report = reports[name] = k2t.verify(folder, example("lstm"), weights="model", edge_cases=False)
        if not report.passed:
            assert report.first_divergence == "lstm"
    gates = [name for name in names if "gate" in name]
    assert gates and not any(reports[name].passed for name in gates)


def test_a_wrong_epsilon_is_caught(example, tmp_path):
    with_override(example("unet"), tmp_path, "down1_norm", "arguments", {"eps": 0.1})
    report = k2t.verify(tmp_path, example("unet"))
    assert not report.passed and report.first_divergence == "down1_norm"


def test_only_the_wrong_layer_of_two_calls_is_blamed(example, tmp_path):
    """A shared encoder: the layer inside is named by its path, whatever the call."""
    with_override(example("shared"), tmp_path, "encoder/conv1", "permutation", {"key": "weight", "axes": [3, 2, 1, 0]})
    report = k2t.verify(tmp_path, example("shared"))
    assert not report.passed and report.first_divergence == "encoder/conv1"


# Weights that prove nothing


def test_all_ones_weights_hide_a_wrong_override_until_they_are_randomised(example, tmp_path):
    with_override(example("all_ones"), tmp_path, "conv", "permutation", {"key": "weight", "axes": [3, 2, 1, 0]})
    blind = k2t.verify(tmp_path, example("all_ones"), weights="model")
    assert blind.passed and not blind.proves and "proves nothing" in blind.verdict
    assert {w.variable for w in blind.weaknesses} >= {"conv/kernel", "classes/kernel"}
    seeing = k2t.verify(tmp_path, example("all_ones"), weights="both")
    assert not seeing.passed and seeing.deciding.weights == "randomised"


def test_a_symmetric_kernel_is_weak(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(4, name="even")(inputs))
    randomise(model)
    kernel = model.get_layer("even").kernel
    kernel.assign((kernel + np.transpose(kernel)) / 2)
    k2t.convert(model, tmp_path)
    report = k2t.verify(tmp_path, model, weights="model")
    assert [w.variable for w in report.weaknesses] == ["even/kernel"] and not report.proves
    assert k2t.verify(tmp_path, model).proves


def test_random_weights_are_strong(converted, example):
    report = k2t.verify(converted("convnet"), example("convnet"), weights="model")
    assert report.weaknesses == () and report.proves


# Differences


def test_difference_counts_what_is_not_finite():
    a = np.array([1.0, np.nan, np.inf, -2.0])
    assert Difference.of(a, a.copy()).relative == 0
    assert Difference.of(a, np.array([1.0, 0.0, np.inf, -2.0])).relative == np.inf
    assert Difference.of(a, np.array([1.0, np.nan, -np.inf, -2.0])).relative == np.inf
    assert Difference.of(np.zeros(3), np.array([0, 0, 1e-9])).relative == np.inf
    assert Difference.of(np.zeros((2, 3)), np.zeros((3, 2))).relative == np.inf
    assert Difference.of(np.array([4.0, -8.0]), np.array([4.0, -8.4])).relative == pytest.approx(0.05)


# Inputs that do not fit


BAD_INPUTS = {
    "shape": (
        [np.zeros((2, 28, 28, 1), "float32")],
        r"'image' has shape \(2, 28, 28, 1\), the model takes \(any, 28, 28, 3\)",
    ),
    "channels first": ([np.zeros((2, 3, 28, 28), "float32")], "in Keras's axis order"),
    "rank": ([np.zeros((28, 28, 3), "float32")], "'image' has shape"),
    "count": ([np.zeros((2, 28, 28, 3), "float32")] * 2, "2 arrays for a model of 1 inputs"),
    "none": ([], "0 arrays"),
    "empty batch": ([np.zeros((0, 28, 28, 3), "float32")], "batch size"),
    "NaN": ([np.full((2, 28, 28, 3), np.nan, "float32")], "NaN or infinity"),
    "text": ([np.full((2, 28, 28, 3), "x")], "not numbers"),
    "complex": ([np.zeros((2, 28, 28, 3), "complex64")], "not numbers"),
    "scalar": ([np.float32(1)], "batch size"),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_arrays_that_do_not_fit(case, converted, example):
    arrays, words = BAD_INPUTS[case]
    with pytest.raises(k2t.InputError, match=words):
        k2t.verify(converted("convnet"), example("convnet"), inputs=arrays)


def test_tokens_that_do_not_fit(converted, example):
    for tokens, words in (([[2000]], "knows 0 to 1999"), ([[-1]], "knows 0 to 1999"), ([[0.5]], "whole numbers")):
        with pytest.raises(k2t.InputError, match=words):
            k2t.verify(converted("text_classifier"), example("text_classifier"), inputs=[np.array(tokens)])


def test_two_inputs_of_different_batch(converted, example):
    with pytest.raises(k2t.InputError, match="same batch size"):
        k2t.verify(
            converted("two_in_two_out"),
            example("two_in_two_out"),
            inputs=[np.zeros((2, 16, 20, 3), "float32"), np.zeros((3, 6), "float32")],
        )


def input_files(folder: Path) -> dict[str, Path]:
    np.save(folder / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (folder / "text.npy").write_text("1,2,3")
    (folder / "empty.npz").write_bytes(b"")
    np.savez(folder / "whole.npz", np.zeros((2, 28, 28, 3), "float32"))
    (folder / "cut.npz").write_bytes((folder / "whole.npz").read_bytes()[:2000])
    data = bytearray((folder / "whole.npz").read_bytes())
    data[5000] ^= 0xFF
    (folder / "damaged.npz").write_bytes(data)
    np.savez(folder / "objects.npz", np.array([{"a": 1}], dtype=object))
    (folder / "folder.npy").mkdir()
    return {
        name: folder / name
        for name in (
            "pickled.npy",
            "text.npy",
            "empty.npz",
            "cut.npz",
            "damaged.npz",
            "objects.npz",
            "folder.npy",
            "none.npy",
        )
    }


@pytest.mark.parametrize(
    "name", ["pickled.npy", "text.npy", "empty.npz", "cut.npz", "damaged.npz", "objects.npz", "folder.npy", "none.npy"]
)
def test_input_files_that_are_none(name, converted, example, tmp_path):
    path = input_files(tmp_path)[name]
    with pytest.raises(k2t.InputError, match=name) as caught:
        k2t.verify(converted("convnet"), example("convnet"), inputs=path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"batch": 0},
        {"batch": -3},
        {"distribution": "cauchy"},
        {"weights": "ones"},
        {"tolerance": -1.0},
        {"tolerance": float("nan")},
    ],
)
def test_options_that_do_not_exist(options, converted, example):
    with pytest.raises(k2t.K2TError):
        k2t.verify(converted("dense"), example("dense"), **options)


@pytest.mark.parametrize("weights", ["model", "randomised", "both"])
def test_a_model_without_weights_is_compared_as_it_is(weights, tmp_path):
    """ "randomised" had nothing to randomise, and no comparison at all."""
    x = keras.Input((4, 3))
    model = keras.Model(x, layers.Flatten()(layers.Activation("tanh")(x)))
    k2t.convert(model, tmp_path)
    report = k2t.verify(tmp_path, model, weights=weights)
    assert report.passed and report.proves and {run.weights for run in report.runs} == {"model"}


def test_comparisons_end_with_the_first_that_differs_where_that_is_enough(example, tmp_path):
    with_override(example("square"), tmp_path, "square2", "permutation", {"key": "weight", "axes": [0, 1]})
    report = k2t.verify(tmp_path, example("square"), stop_early=True, training=True, explain=False)
    assert len(report.runs) == 1 and not report.passed and report.training == () and report.causes == ()
    assert report.first_divergence == k2t.verify(tmp_path, example("square"), explain=False).first_divergence


def test_progress_goes_up_to_the_end(converted, example):
    told: list[tuple[float, str]] = []
    k2t.verify(converted("dense"), example("dense"), progress=lambda share, text: told.append((share, text)))
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[0] == 0 and told[-1] == (1.0, "Done")
    assert any("Comparing with the model’s weights on normal, batch of 4" in text for _, text in told)


def test_the_cause_is_looked_for_with_the_weights_of_the_run_that_differs(tmp_path, monkeypatch):
    """The model's own weights give negative numbers on pixels only; the randomised ones come last, and are others."""
    from k2t_core.verification import verifying

    x = keras.Input((4, 4, 3))
    y = layers.Dense(2, name="dense")(layers.Flatten()(layers.Rescaling(1 / 255.0)(x)))
    model = keras.Model(x, layers.LeakyReLU(0.2, name="leaky")(y))
    own = np.random.default_rng(0).uniform(-0.5, -0.1, (48, 2)).astype("float32")
    model.get_layer("dense").set_weights([own, np.ones(2, "float32")])
    wrong = k2t.Recipe().with_override(k2t.Override("leaky", "snippet", "F.leaky_relu(x, 0.3)", "to be caught"))
    k2t.convert(model, tmp_path, wrong)
    seen = []
    explained = verifying.explained

    def look(report, recipe, written, traced, arrays, say):
        seen.append((arrays[0], written.outputs(arrays)[0]))
        return explained(report, recipe, written, traced, arrays, say)

    monkeypatch.setattr(verifying, "explained", look)
    report = k2t.verify(tmp_path, model, seed=2)
    assert report.runs[0].passed and report.deciding is report.runs[1], "pixels show it, ordinary numbers do not"
    pixels, got = seen[0]
    before = pixels.reshape(-1, 48) / 255 @ own + 1
    assert np.allclose(got, np.where(before < 0, 0.3 * before, before), atol=1e-4)
    assert report.first_divergence == "leaky"
    assert report.causes[0].explains and "without your override" in report.causes[0].text


# Folders that do not fit


@pytest.fixture
def copy(converted, tmp_path):
    """``copy("dense")``: a conversion that a test may damage."""
    return lambda name: Path(shutil.copytree(converted(name), tmp_path / name))


def fails(folder: Path, model: Path, *words: str) -> str:
    with pytest.raises(k2t.K2TError) as caught:
        k2t.verify(folder, model)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def test_an_empty_folder(example, tmp_path):
    fails(tmp_path, example("dense"), "manifest.json: no such file", "k2t convert")


@pytest.mark.parametrize("name", ["model.py", "model.safetensors", "manifest.json"])
def test_a_missing_file(copy, example, name):
    folder = copy("dense")
    (folder / name).unlink()
    fails(folder, example("dense"), name)


def test_a_conversion_of_another_model(converted, example):
    fails(converted("dense"), example("square"), "converted from another model", "square.keras")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'"x"',
        b"\xff\xfe",
        b'{"variables": 3, "taps": 1, "scopes": 2, "inputs": 1, "outputs": 1, "source_sha256": "", "class": "Dense"}',
    ],
)
def test_a_damaged_manifest(copy, example, content):
    folder = copy("dense")
    (folder / "manifest.json").write_bytes(content)
    fails(folder, example("dense"), "manifest.json")


@pytest.mark.parametrize(
    "key", ["class", "reference", "inputs", "outputs", "variables", "scopes", "taps", "source_sha256"]
)
@pytest.mark.parametrize("value", [None, 7, {"a": 1}, ["a"]])
def test_a_manifest_with_something_else_in_it(copy, example, key, value):
    folder = copy("dense")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[key] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))
    try:
        k2t.verify(folder, example("dense"))
    except k2t.K2TError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("kept", [0, 4, 100, -10])
def test_damaged_weights(copy, example, kept):
    folder = copy("dense")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:kept])
    fails(folder, example("dense"), "model.safetensors")


def test_weights_of_another_model(copy, converted, example):
    folder = copy("dense")
    shutil.copy(converted("square") / "model.safetensors", folder)
    fails(folder, example("dense"), "model.safetensors")


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / "model.py").read_text()
    assert old in text
    (folder / "model.py").write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("import torch", "import nonsense_that_nobody_has\nimport torch", "nonsense_that_nobody_has"),
        ("class ", "class class ", "SyntaxError"),
        ("    def forward(self, x):", "    def forward(self, x):\n        raise RuntimeError('no\\nway')", "no way"),
        ("    def forward(self, x):", "    def forward(self, x, y):", "forward()"),
        ("def load_model(", "def load_something(", "load_model"),
        ("        super().__init__()", "        raise ValueError('not today')", "not today"),
        ("nn.Linear(10, 128)", "nn.Linear(10, 64)", "load_model() fails"),
    ],
)
def test_a_model_py_that_was_broken_by_hand(copy, example, old, new, words):
    folder = copy("dense")
    edit(folder, old, new)
    fails(folder, example("dense"), "model.py", words)


def test_a_model_py_that_was_edited_by_hand_is_judged_by_its_outputs(copy, example):
    folder = copy("dense")
    edit(folder, "    def forward(self, x):", "    def forward(self, x):\n        x = x * 1.0")
    report = k2t.verify(folder, example("dense"))
    assert report.passed and "edited by hand" in report.notes[0]
    edit(folder, "x * 1.0", "x * 1.1")
    assert not k2t.verify(folder, example("dense")).passed


def test_an_edit_inside_a_statement_is_named_by_its_layer(copy, example):
    folder = copy("square")
    edit(folder, "torch.tanh", "torch.sin")
    report = k2t.verify(folder, example("square"))
    assert not report.passed and report.first_divergence == "square1" and "edited by hand" in report.notes[0]


# Random batches


def test_a_batch_that_keras_cannot_run_is_said_in_one_line(tmp_path):
    tokens = keras.Input((4,), dtype="int32")
    model = keras.Model(tokens, layers.Embedding(8, 3)(tokens * 9))
    k2t.convert(model, tmp_path)
    with pytest.raises(k2t.InputError, match="Keras itself refuses this batch.*is not in") as caught:
        k2t.verify(tmp_path, model)
    assert "\n" not in str(caught.value)


# Batches from files of other kinds


@pytest.mark.parametrize("merged", [keras.ops.add, lambda a, b: layers.Add()([a, b])], ids=["ops", "layer"])
def test_what_keras_does_to_a_single_sample_alone_is_no_difference(merged, tmp_path):
    """Squared distances of all pairs: of one sample, Keras takes the columns' (1, 1, 7) for a bias of the (1, 7, 1)."""
    x = keras.Input((7, 3))
    squares = keras.ops.sum(x * x, axis=-1)
    model = keras.Model(
        x, merged(squares[:, :, None], squares[:, None, :]) - 2 * keras.ops.matmul(x, keras.ops.transpose(x, (0, 2, 1)))
    )
    k2t.convert(model, tmp_path / "out")
    report = k2t.verify(tmp_path / "out", model)
    assert report.passed, report.verdict
    assert any("adds for a bias" in note for note in report.notes)
    assert not any("batch of 1" in run.inputs for run in report.runs)


def test_two_verifications_at_once(example, tmp_path):
    """Two people on one server: torch's default dtype, which is the process's, must not leak between their threads."""
    from threading import Thread

    traced = {name: k2t.trace(k2t.load(example(name))) for name in ("convnet", "lstm")}
    said: list[str] = []

    def work(name: str) -> None:
        try:
            for _ in range(8):
                k2t.convert(k2t.plan(traced[name]), tmp_path / name)
                said.append(k2t.verify(tmp_path / name, traced[name]).verdict)
        except BaseException as error:  # a thread's own errors end with it
            said.append(repr(error))

    threads = [Thread(target=work, args=(name,)) for name in traced]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 16 and all(words.startswith("agrees (") for words in said), said


@pytest.mark.parametrize("policy", ["float16", "mixed_float16", "bfloat16", "mixed_bfloat16"])
def test_few_digits_excuse_no_wrong_weight(policy, tmp_path):
    """256 roundings of bfloat16 are twice the largest value, and once excused anything."""
    x = keras.Input((12, 16))
    attended = layers.MultiHeadAttention(4, 4, dtype=policy, name="attention")(x, x)
    hidden = layers.Dense(10, dtype=policy, name="hidden", activation="relu")(
        layers.LayerNormalization(dtype=policy)(attended)
    )
    model = keras.Model(x, layers.Dense(3, dtype=policy, name="last")(hidden))
    randomise(model, 0)
    k2t.convert(model, tmp_path)
    right = k2t.verify(tmp_path, model)
    assert right.passed and right.proves, right.verdict
    state = load_file(tmp_path / "model.safetensors")
    state["hidden.weight"] = state["hidden.weight"].T.contiguous().reshape(state["hidden.weight"].shape)
    save_file(state, tmp_path / "model.safetensors")
    wrong = k2t.verify(tmp_path, model, weights="model")
    assert not wrong.passed and wrong.first_divergence == "hidden", wrong.verdict


def test_the_implied_range_is_compared_with_the_models_own_weights(tmp_path):
    model = keras.Sequential(
        [keras.Input((8, 8, 3), name="image"), layers.Rescaling(1 / 255, name="scale"), layers.Conv2D(2, 3)]
    )
    randomise(model)
    k2t.convert(model, tmp_path)
    runs = [(run.weights, run.inputs) for run in k2t.verify(tmp_path, model).runs]
    assert [weights for weights, inputs in runs if inputs.startswith("pixels 0…255, as the Rescaling")] == [
        "model",
        "randomised",
    ]
    assert not any("pixels" in run.inputs for run in k2t.verify(tmp_path, model, edge_cases=False).runs)


@pytest.mark.parametrize(("value", "words"), [(np.inf, "NaN or infinity"), (1e38, "numbers whose squares overflow")])
def test_weights_through_which_nothing_can_be_compared(tmp_path, value, words):
    x = keras.Input((3,))
    model = keras.Model(x, keras.layers.Dense(3, name="dense")(x))
    model.get_layer("dense").kernel.assign(np.where(np.eye(3), value, 1.0))
    k2t.convert(model, tmp_path / "out")
    with pytest.raises(k2t.K2TError, match=f"'dense/kernel' holds {words} in 3 of 9 places"):
        k2t.verify(tmp_path / "out", model)
    assert k2t.verify(tmp_path / "out", model, weights="randomised").passed


def test_causes_are_looked_for_with_the_numbers_that_showed_the_difference(tmp_path):
    """Inputs of zeros show nothing of a kernel; other random weights and inputs do, and it is they that explain it."""
    x = keras.Input((6,), name="x")
    model = keras.Model(x, layers.Dense(6, name="square")(x))
    wrong = k2t.Recipe().with_override(k2t.Override("square", "permutation", {"key": "weight", "axes": [0, 1]}))
    k2t.convert(model, tmp_path, wrong)
    report = k2t.verify(tmp_path, model, inputs=[np.zeros((2, 6), "float32")], edge_cases=False)
    assert [run.passed for run in report.runs] == [True, True, False]
    assert report.deciding is report.runs[2]
    alone = next(layer.isolated for layer in report.deciding.layers if layer.layer == "square")
    best = report.causes[0]
    assert best.explains and best.before.max_abs == pytest.approx(alone.max_abs, rel=1e-5)
