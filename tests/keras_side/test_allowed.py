"""What a file may name: everything that a model is made of, and nothing else; and how its calls may hang together."""

from __future__ import annotations

import copy
import inspect
import json
import zipfile

import h5py
import keras
import pytest
import tf_keras

import k2t_core as k2t
from k2t_core.errors import K2TError, ModelFileError
from k2t_core.keras_side import allowed
from k2t_core.keras_side.model_file import read_info

FORMATS = [(keras, ".keras"), (keras, ".h5"), (tf_keras, ".keras"), (tf_keras, ".h5")]
FORMAT_IDS = ["3", "3h5", "2", "2h5"]


def saved(package, tmp_path, suffix, layer=None):
    """A small model's file: Input → the layer, or a Dense → Dense."""
    x = package.Input((4,), name="x")
    y = (layer or package.layers.Dense(4, name="victim", activation="relu"))(x)
    path = tmp_path / f"model{suffix}"
    package.Model(x, package.layers.Dense(2, name="head")(y)).save(path)
    return path


def changed(path, change):
    """The file with its config changed: ``change`` gets the config of the layer called victim, and that of the
    model.
    """
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            _change(config, change)
            file.attrs["model_config"] = json.dumps(config)
        return path
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    _change(config, change)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def _change(config, change):
    victim = next(
        layer for layer in config["config"]["layers"] if (layer.get("name") or layer["config"]["name"]) == "victim"
    )
    change(victim, config)


def function(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def instance(module, name, config=None):
    return {"module": module, "class_name": name, "config": config or {}, "registered_name": name}


# What a hostile file names: functions that do something when they are called, classes that do when they are made.
FUNCTIONS = [
    ("os", "system"),
    ("builtins", "exec"),
    ("builtins", "eval"),
    ("builtins", "breakpoint"),
    ("posix", "system"),
    ("keras.config", "set_floatx"),
    ("keras.config", "set_image_data_format"),
    ("keras.config", "enable_unsafe_deserialization"),
    ("keras.datasets.mnist", "load_data"),
    ("keras.utils", "get_file"),
    ("keras.src.utils.file_utils", "get_file"),
    ("keras.models", "load_model"),
    ("keras.saving", "load_model"),
    ("keras.src.utils.python_utils", "func_load"),
    ("tensorflow.python.ops.gen_io_ops", "write_file"),
    ("tensorflow", "py_function"),
    ("numpy", "load"),
    (None, "exec"),
]
CLASSES = [
    ("subprocess", "Popen"),
    ("os", "_wrap_close"),
    ("keras.layers", "TFSMLayer"),
    ("keras.layers", "TorchModuleWrapper"),
    ("keras.layers", "JaxLayer"),
    ("keras.src.export.tfsm_layer", "TFSMLayer"),
    ("keras.src.saving.file_editor", "KerasFileEditor"),
    ("keras.src.legacy.preprocessing.image", "DirectoryIterator"),
    ("tf_keras.src.export.export_lib", "ReloadedLayer"),
    ("keras.src.export.export_lib", "ReloadedLayer"),
    ("tf_keras.src.layers.rnn.cell_wrappers", "ResidualWrapper"),
    ("keras.layers.rnn.cell_wrappers", "DropoutWrapper"),
    ("keras.layers", "DeviceWrapper"),
    (None, "ResidualWrapper"),
    (None, "ReloadedLayer"),
]
PLACES = {
    "activation": lambda victim, item: victim["config"].update(activation=item),
    "initializer": lambda victim, item: victim["config"].update(kernel_initializer=item),
    "deep": lambda victim, item: victim["config"].update(kernel_regularizer={"anything": [{"else": item}]}),
    "dtype": lambda victim, item: victim["config"].update(dtype=item),
}


@pytest.fixture
def nobody_reads(monkeypatch):
    """Neither framework may be asked to build what is refused."""

    def asked(*args, **kwargs):
        raise AssertionError("a framework was given the config")

    for target, name in (
        (keras.saving, "load_model"),
        (keras.saving, "deserialize_keras_object"),
        (tf_keras.models, "load_model"),
    ):
        monkeypatch.setattr(target, name, asked)


@pytest.mark.parametrize(
    "package, suffix",
    [(keras, ".keras"), (keras, ".h5"), (tf_keras, ".keras"), (tf_keras, ".h5")],
    ids=["3", "3h5", "2", "2h5"],
)
@pytest.mark.parametrize("place", PLACES)
def test_what_a_file_may_not_name_is_refused_before_anybody_builds_it(package, suffix, place, tmp_path, nobody_reads):
    path = saved(package, tmp_path, suffix)
    clean = path.read_bytes()
    for item in [function(*f) for f in FUNCTIONS] + [instance(*c) for c in CLASSES]:
        path.write_bytes(clean)
        changed(path, lambda victim, config, item=item: PLACES[place](victim, copy.deepcopy(item)))
        for unsafe in (False, True):
            with pytest.raises(K2TError) as refusal:
                k2t.load(path, allow_unsafe=unsafe)
            assert "victim" in str(refusal.value) and "\n" not in str(refusal.value), item


def test_a_cell_with_stored_code_is_not_run(tmp_path, nobody_reads):
    """Keras 2's cell wrappers load marshalled functions out of their config."""
    cell = tf_keras.layers.LSTMCell(4)
    path = saved(tf_keras, tmp_path, ".h5", tf_keras.layers.Dense(4, name="victim"))
    wrapper = {
        "class_name": "ResidualWrapper",
        "config": {
            "cell": {"class_name": "LSTMCell", "config": cell.get_config()},
            "residual_fn": ["code", None, None],
            "residual_fn_type": "lambda",
        },
    }
    changed(path, lambda victim, config: victim.update(class_name="RNN", config={"name": "victim", "cell": wrapper}))
    with pytest.raises(K2TError, match="ResidualWrapper"):
        k2t.load(path)


def test_every_function_and_class_that_keras_exports_is_on_the_list_or_refused():
    """By what they are: a layer, an operation, an initial value … is listed, whatever else Keras exports is not."""
    building = (
        keras.Layer,
        keras.Operation,
        keras.initializers.Initializer,
        keras.regularizers.Regularizer,
        keras.constraints.Constraint,
        keras.quantizers.Quantizer,
        keras.DTypePolicy,
        keras.random.SeedGenerator,
    )
    listed = allowed.keras3()
    seen = refused = 0
    stack, visited = [keras], set()
    while stack:
        module = stack.pop()
        visited.add(module.__name__)
        for name, value in vars(module).items():
            if (
                inspect.ismodule(value)
                and value.__name__.startswith("keras.")
                and ".src" not in value.__name__
                and value.__name__ not in visited
            ):
                stack.append(value)
            public = module.__name__.replace("keras._tf_keras.", "")
            if inspect.isclass(value):
                known = listed.knows(instance(public, name))
                seen += known
                refused += not known
                if known:
                    assert (
                        issubclass(value, building)
                        and value.__name__ not in allowed.LOADERS
                        or "QuantizationConfig" in name
                    ), (public, name)
            elif inspect.isfunction(value):
                known = listed.knows(function(public, name))
                assert not known or public in ("keras.activations", "keras.ops"), (public, name)
    assert seen > 150 and refused > 100
    for name in dir(keras.layers):
        cls = getattr(keras.layers, name)
        if inspect.isclass(cls) and issubclass(cls, keras.Layer) and cls.__name__ not in allowed.LOADERS:
            assert listed.knows(instance("keras.layers", name)) and listed.knows(instance(None, name)), name


def test_training_is_left_out(tmp_path):
    """A loss and a metric of one's own are no reason to refuse a model: they are not read."""

    def odd_loss(a, b):
        return keras.ops.mean(a - b)

    x = keras.Input((3,))
    model = keras.Model(x, keras.layers.Dense(2)(x))
    model.compile(keras.optimizers.Adam(), odd_loss, metrics=[odd_loss])
    model.save(tmp_path / "trained.keras")
    assert k2t.load(tmp_path / "trained.keras").model.count_params() == 8


def cycle(victim, config):
    victim["inbound_nodes"] = json.loads(
        json.dumps(next(layer for layer in config["config"]["layers"] if layer.get("name") == "head")["inbound_nodes"])
    )


def dangling(victim, config):
    text = json.dumps(victim["inbound_nodes"]).replace('"x"', '"nobody"')
    victim["inbound_nodes"] = json.loads(text)


def later_call(victim, config):
    """It reads the sixth call of the input, which has one."""
    text = json.dumps(victim["inbound_nodes"])
    victim["inbound_nodes"] = json.loads(
        text.replace('["x", 0, 0]', '["x", 5, 0]').replace('["x", 0, 0, {}]', '["x", 5, 0, {}]')
    )


def on_literals(victim, config):
    victim["inbound_nodes"] = [{"args": [0.0, 1.0, 10**9], "kwargs": {}}]


@pytest.mark.parametrize(
    "package, suffix",
    [(keras, ".keras"), (keras, ".h5"), (tf_keras, ".keras"), (tf_keras, ".h5")],
    ids=["3", "3h5", "2", "2h5"],
)
@pytest.mark.parametrize("change", [cycle, dangling, later_call, on_literals], ids=lambda f: f.__name__)
def test_calls_that_never_come_are_refused_and_not_waited_for(package, suffix, change, tmp_path, nobody_reads):
    path = changed(saved(package, tmp_path, suffix), change)
    with pytest.raises(ModelFileError, match="victim|nobody|says that Keras"):
        k2t.load(path)


@pytest.mark.parametrize(
    "package, suffix",
    [(keras, ".keras"), (keras, ".h5"), (tf_keras, ".keras"), (tf_keras, ".h5")],
    ids=["3", "3h5", "2", "2h5"],
)
def test_shared_layers_and_nested_models_hang_together(package, suffix, tmp_path):
    x, y = package.Input((4,)), package.Input((4,))
    dense = package.layers.Dense(4, name="shared")
    inner = package.Sequential([package.Input((4,)), package.layers.Dense(4), package.layers.ReLU()], name="inner")
    a = package.layers.Add()([dense(dense(x)), inner(dense(y))])
    path = tmp_path / f"model{suffix}"
    package.Model([x, y], [inner(a), package.layers.Concatenate()([a, x])]).save(path)
    allowed.check_calls(path.name, read_info(path)["config"], 2 if package is tf_keras else 3)
    assert len(k2t.load(path).model.outputs) == 2


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_sequential_without_an_input_layer_inside_a_model_of_keras_2(suffix, tmp_path):
    x = tf_keras.Input((4,))
    inner = tf_keras.Sequential([tf_keras.layers.Dense(4, input_shape=(4,))], name="inner")
    late = tf_keras.Sequential([tf_keras.layers.Dense(4)], name="late")
    path = tmp_path / f"model{suffix}"
    tf_keras.Model(x, late(late(inner(inner(x))))).save(path)
    allowed.check_calls(path.name, read_info(path)["config"], 2)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_half_a_character_in_a_name_is_refused(suffix, tmp_path, nobody_reads):
    path = changed(saved(keras, tmp_path, suffix), lambda victim, config: victim["config"].update(activation="\ud800"))
    with pytest.raises(ModelFileError, match="holds text that no file can"):
        k2t.load(path)


@pytest.mark.parametrize("package, suffix", FORMATS, ids=FORMAT_IDS)
@pytest.mark.parametrize("kind", ["StringLookup", "IntegerLookup", "TextVectorization"])
def test_a_vocabulary_that_is_a_path_is_not_read(package, suffix, kind, tmp_path, nobody_reads):
    (tmp_path / "secret").write_text("root:SECRETHASH\n")

    def change(victim, config):
        victim.update(class_name=kind, config={"name": "victim", "vocabulary": str(tmp_path / "secret")})

    path = changed(saved(package, tmp_path, suffix), change)
    with pytest.raises(K2TError, match="takes its vocabulary from the file") as refusal:
        k2t.load(path)
    assert "SECRETHASH" not in str(refusal.value)


@pytest.mark.parametrize(
    "bad", [["victim", -1, 0, {}], ["victim", 5.0, 0, {}], ["x", 0, 7, {}], ["victim", None, 0, {}]]
)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_tf_keras_does_not_search_without_end(bad, suffix, tmp_path):
    """Whatever the pass over the calls does not see through: tf_keras's own loop comes to an end."""
    path = saved(tf_keras, tmp_path, suffix)
    changed(path, lambda victim, config: victim.update(inbound_nodes=[[["x", 0, 0, {}], bad]]))
    with pytest.raises(K2TError):
        k2t.load(path)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_nested_models_that_were_compiled_load(suffix, tmp_path):
    """Every GAN has one; a loss of one's own in it is left out like the outermost model's."""

    def odd_loss(a, b):
        return keras.ops.mean(a - b)

    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)], name="inner")
    inner.compile("adam", odd_loss)
    x = keras.Input((4,))
    keras.Model(x, inner(x)).save(tmp_path / f"gan{suffix}")
    model = k2t.load(tmp_path / f"gan{suffix}").model
    assert getattr(model.get_layer("inner"), "optimizer", None) is None
    inner.compile("adam", "mse")
    assert inner.compiled, "outside, models are compiled as ever"


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_layers_of_keras_2_that_are_called_experimental_are_known(suffix, tmp_path):
    x = tf_keras.Input((8, 8, 3))
    tf_keras.Model(x, tf_keras.layers.experimental.SyncBatchNormalization()(x)).save(tmp_path / f"sync{suffix}")
    assert k2t.load(tmp_path / f"sync{suffix}").model.count_params() == 12


def test_a_list_among_the_arguments_of_a_call_is_no_tensor():
    node = {
        "args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 0, 0]}}, ["rank", 2, 3]],
        "kwargs": {},
    }
    layers = [
        {"name": "x", "class_name": "InputLayer", "config": {}, "inbound_nodes": []},
        {"name": "y", "class_name": "Own", "config": {}, "inbound_nodes": [node]},
    ]
    config = {"class_name": "Functional", "config": {"layers": layers, "output_layers": []}}
    allowed.check_calls("model.keras", config, 3)
    layers.append(dict(layers[1]))
    with pytest.raises(ModelFileError, match="two layers are called 'y'"):
        allowed.check_calls("model.keras", config, 3)


# --- numbers ---


@pytest.mark.parametrize("package, suffix", FORMATS, ids=FORMAT_IDS)
@pytest.mark.parametrize("option", allowed.AMOUNTS)
def test_what_counts_things_that_python_makes_is_bounded(package, suffix, option, tmp_path, nobody_reads):
    path = saved(package, tmp_path, suffix)
    clean = path.read_bytes()
    for value in (allowed.AMOUNTS[option] + 1, 10**30, float("inf"), [1, 10**12]):
        path.write_bytes(clean)
        changed(path, lambda victim, config, value=value: victim["config"].update({option: value}))
        with pytest.raises(k2t.UnsupportedError, match=f"'victim' has the option {option}="):
            k2t.load(path)


@pytest.mark.parametrize("package, suffix", FORMATS, ids=FORMAT_IDS)
@pytest.mark.parametrize("kind", allowed.ARRAYS)
def test_numbers_have_a_dtype_that_layers_compute_in(package, suffix, kind, tmp_path, nobody_reads):
    path = saved(package, tmp_path, suffix)
    clean = path.read_bytes()
    for dtype in ("V2000000000", "U500000000", "O", "float32, (1000000,)float64", None, 7):
        path.write_bytes(clean)
        item = {"class_name": kind, "config": {"value": [0.0], "dtype": dtype}}
        changed(path, lambda victim, config, item=item: victim["config"].update(kernel_initializer=copy.deepcopy(item)))
        with pytest.raises(k2t.UnsupportedError, match="'victim' holds numbers of the dtype"):
            k2t.load(path)


@pytest.mark.parametrize("package, suffix", FORMATS, ids=FORMAT_IDS)
def test_a_name_is_text_of_a_length_that_is_read(package, suffix, tmp_path, nobody_reads):
    path = saved(package, tmp_path, suffix)
    clean = path.read_bytes()
    for value, why in ((7, "the name '7', which is no text"), ("x" * 501, "has 501 letters")):
        path.write_bytes(clean)
        with pytest.raises(k2t.K2TError, match=why):
            k2t.load(changed(path, lambda victim, config, value=value: config["config"].update(name=value)))


@pytest.mark.parametrize("package, suffix", FORMATS, ids=FORMAT_IDS)
def test_calls_in_an_order_that_takes_hours_are_refused(package, suffix, tmp_path, nobody_reads):
    def backwards(victim, config):
        layers = config["config"]["layers"]
        text = json.dumps(victim)
        for index in range(1000):
            one = text.replace('"victim"', f'"v{index}"').replace('"x"', f'"v{index - 1}"' if index else '"x"')
            layers.insert(1, json.loads(one))

    with pytest.raises(ModelFileError, match="in an order in which Keras takes hours"):
        k2t.load(changed(saved(package, tmp_path, suffix), backwards))


@keras.saving.register_keras_serializable("k2t_tests_allowed")
class Mine(keras.layers.Layer):
    def call(self, x):
        return x * 2.0


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_registered_name_opens_no_door_for_another_class(suffix, tmp_path):
    path = saved(keras, tmp_path, suffix, Mine(name="victim"))
    assert k2t.load(path).model is not None
    names = {"class_name": "TFSMLayer", "registered_name": "k2t_tests_allowed>Mine", "module": "keras.layers"}
    with pytest.raises(K2TError, match="TFSMLayer"):
        k2t.load(changed(path, lambda victim, config: victim.update(names)))
