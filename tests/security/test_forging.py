"""A model.py that is to be judged and would rather judge: an error or an honest verdict, and nothing of it stays.

Every attack stands in a model.py that is wrong by 1 %, so that "agrees" is always false.
"""

from __future__ import annotations

import builtins
import json
import os
import shutil
import socket
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from safetensors.torch import load_file, save_file

import k2t_core as k2t
from k2t_core import cli
from k2t_core.emit.manifest import Manifest
from k2t_core.keras_side.randomise import randomise
from k2t_core.progress import Cancelled, interruptible
from k2t_core.verification.alone import probe
from k2t_core.verification.torch_side import TorchSide

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux"),
    pytest.mark.usefixtures("nothing_stays"),
]
RETURN = "        return x\n"
WRONG = "        return x * 1.01\n"


@pytest.fixture(scope="module")
def conversion(tmp_path_factory):
    """A traced model and the folder of its conversion, which is right."""
    x = keras.Input((6,), name="x")
    model = keras.Model(x, layers.Dense(3, name="head")(layers.Dense(8, "relu", name="hidden")(x)), name="small")
    randomise(model)
    folder = tmp_path_factory.mktemp("right") / "out"
    traced = k2t.trace(k2t.load(model))
    k2t.convert(traced, folder)
    return traced, folder


@pytest.fixture
def forged(conversion, tmp_path):
    """``forged(code)``: a folder whose module is wrong and whose model.py runs ``code`` when it is imported;
    ``forward``: before what forward() returns.
    """

    def make(code: str = "", forward: str = "", returns: str = WRONG) -> Path:
        folder = Path(shutil.copytree(conversion[1], tmp_path / "out"))
        text = (folder / "model.py").read_text()
        assert text.count(RETURN) == 1
        lines = "".join(f"        {line}\n" for line in forward.splitlines())
        (folder / "model.py").write_text(f"{text.replace(RETURN, lines + returns)}\n{code}\n")
        return folder

    return make


def verified(conversion, folder, **options):
    return k2t.verify(folder, conversion[0], **{"edge_cases": False, "explain": False, **options})


@pytest.fixture
def nothing_stays(conversion):
    """After the test, the right module agrees in this very process as it did before it."""
    before = verified(conversion, conversion[1], weights="model").to_json()
    yield
    after = verified(conversion, conversion[1], weights="model").to_json()
    assert after == before and after["passed"]


PATCHES = {
    "Difference.of": """
from k2t_core.difference import Difference
Difference.of = classmethod(lambda cls, *arrays: cls(0.0, 0.0, 0.0, 1.0))
""",
    "what decides": """
from k2t_core import difference
from k2t_core.verification import check, compare, layers, report
for module in (difference, check, compare, layers):
    module.layer_passes = module.output_passes = lambda *_, **__: True
report.Report.passed = report.Run.passed = property(lambda self: True)
""",
    "numpy": """
import numpy
numpy.abs = lambda array, *_, **__: array * 0
numpy.where = lambda condition, *rest: rest[0] * 0 if rest else condition
""",
    "torch": """
torch.Tensor.numpy = lambda self, *_, **__: __import__("numpy").zeros(tuple(self.shape), "float32")
torch.equal = lambda *_: True
torch.set_default_dtype(torch.float64)
torch.set_num_threads(64)
""",
    "builtins": """
import builtins
builtins.k2t_was_here = True
builtins.max = lambda *_, **__: 0
builtins.isinstance = lambda *_: True
""",
    "sys.modules": """
import sys, types
for name in list(sys.modules):
    if name.startswith("k2t_core.") or name == "numpy":
        sys.modules[name] = types.ModuleType(name)
""",
    "later, from a thread": """
import threading, time
def later():
    from k2t_core.difference import Difference
    while True:
        Difference.of = classmethod(lambda cls, *arrays: cls(0.0, 0.0, 0.0, 1.0))
        time.sleep(0.01)
threading.Thread(target=later).start()
""",
    "atexit and excepthook": """
import atexit, os, sys
atexit.register(os._exit, 0)
sys.excepthook = lambda *_: os._exit(0)
""",
}


@pytest.mark.parametrize("patched", PATCHES)
def test_what_is_patched_is_patched_elsewhere(patched, conversion, forged):
    try:
        report = verified(conversion, forged(PATCHES[patched]))
    except k2t.OutputError as error:
        assert "model.py" in str(error) and "\n" not in str(error)
    else:
        assert not report.passed
    assert not hasattr(builtins, "k2t_was_here")
    assert not [name for name in sys.modules if name.startswith("k2t_generated")]


ENDS = {
    "sys.exit at import": ("import sys; sys.exit(0)", "", "does not import: SystemExit: 0"),
    "os._exit at import": ("import os; os._exit(0)", "", "has ended: it left with exit code 0"),
    "os._exit in forward": ("", "import os; os._exit(0)", "has ended: it left with exit code 0"),
    "SystemExit in forward": ("", "raise SystemExit(0)", "forward() raises SystemExit: 0"),
    "KeyboardInterrupt": ("", "raise KeyboardInterrupt", "forward() raises KeyboardInterrupt"),
    "an exception of its own": ("class E(BaseException): pass", "raise E", "forward() raises E"),
    "Cancelled": ("from k2t_core.progress import Cancelled", "raise Cancelled", "model.py: the process that runs it"),
    "in a hook": (
        "import torch; torch.nn.modules.module.register_module_forward_hook(lambda *_: exit(0))",
        "",
        "forward() raises SystemExit: 0",
    ),
    "a crash": ("", "import ctypes; ctypes.string_at(0)", "it crashed (SIGSEGV)"),
    "an abort": ("", "import os; os.abort()", "it crashed (SIGABRT)"),
    "out of a thread": (
        "import os, threading; threading.Timer(0.0, os._exit, (0,)).start()",
        "import time; time.sleep(60)",
        "it left with exit code 0",
    ),
}


@pytest.mark.parametrize("how", ENDS)
def test_how_it_ends_is_a_line(how, conversion, forged):
    code, forward, words = ENDS[how]
    with pytest.raises(k2t.OutputError) as error:
        verified(conversion, forged(code, forward))
    assert words in str(error.value) and "model.py" in str(error.value) and str(error.value).isprintable()


def test_an_endless_loop_ends_with_its_limit(conversion, forged, monkeypatch):
    monkeypatch.setenv("K2T_CPU_SECONDS", "1")
    with pytest.raises(k2t.OutputError, match="took more than 1 s of processor time"):
        verified(conversion, forged("", "while True: pass"))


def test_one_that_waits_for_ever_ends_by_the_clock(conversion, forged, monkeypatch):
    monkeypatch.setenv("K2T_WALL_SECONDS", "1")
    with pytest.raises(k2t.OutputError, match="gave no answer for 1 s"):
        verified(conversion, forged("", "import time; time.sleep(10**6)"))


@pytest.mark.parametrize("loop", ["while True: pass", "sum(range(10**15))", "import time; time.sleep(10**6)"])
def test_cancelling_ends_it(loop, conversion, forged):
    folder, unwanted = forged("", loop), threading.Event()
    threading.Timer(1.0, unwanted.set).start()
    with pytest.raises(Cancelled), interruptible(unwanted.is_set):
        verified(conversion, folder)


def test_more_memory_than_there_is(conversion, forged, monkeypatch):
    monkeypatch.setenv("K2T_MEMORY", "2")
    with pytest.raises(k2t.OutputError, match="model.py: "):
        verified(conversion, forged("", "x = x + torch.ones(2**32).sum()"))


@pytest.mark.parametrize("what", ["print('agrees', flush=True)", "import os; os.write(1, b'agrees')"])
def test_what_it_prints_is_not_what_k2t_says(what, conversion, forged, tmp_path, capfd):
    conversion[0].source.model.save(tmp_path / "model.keras")
    folder = forged(what, what)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["verify", str(folder), "--against", str(tmp_path / "model.keras"), "--json"])
    out, err = capfd.readouterr()
    assert stopped.value.code == 1 and not json.loads(out)["passed"] and "agrees" in err


# What it may not do, as code that says "done" in a line of stderr where it could. PID is the judge's.
FORBIDDEN = {
    "write a file": "open(PATH, 'w').close()",
    "delete a file": "os.unlink(KEPT)",
    "write over a file": "open(KEPT, 'w').write('x')",
    "make a folder": "os.mkdir(PATH)",
    "make a link": "os.symlink('/etc', PATH)",
    "rename": "os.rename(KEPT, PATH)",
    "change its own weights": "open(WEIGHTS, 'r+b').write(b'x')",
    "connect": "socket.create_connection(('127.0.0.1', PORT), 2)",
    "send a datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))",
    "reach a service of the machine": "socket.socket(socket.AF_UNIX).connect(SERVICE)",
    "kill the judge": "os.kill(PID, 9)",
    "kill its parent": "os.kill(os.getppid(), 9)",
    "kill everybody": "os.kill(-1, 9)",
    "kill by a file": "signal.pidfd_send_signal(os.pidfd_open(PID), 9)",
    "limit the judge": "resource.prlimit(PID, resource.RLIMIT_CPU, (1, 1))",
    "write into the judge": "open(f'/proc/{PID}/mem', 'r+b').close()",
    "write into its parent": "open(f'/proc/{os.getppid()}/mem', 'r+b').close()",
    "read the judge": "open(f'/proc/{PID}/mem', 'rb').close()",
    "open the judge's files": "[open(f'/proc/{PID}/fd/{n}', 'r+b') for n in (0, 1, 2)]",
    "start a process": "os.fork() or os._exit(0)",
    "start a program": "subprocess.run(['true'])",
    "become a program": "os.execv('/bin/true', ['true'])",
    "type into the terminal": "fcntl.ioctl(2, termios.TIOCSTI, b'x')",
    "leave memory behind": "libc(ctypes.CDLL(None, use_errno=True).shmget(0, 4096, 0o1600))",
}


@pytest.mark.parametrize("deed", FORBIDDEN)
def test_it_can_compute_and_nothing_else(deed, conversion, forged, tmp_path, capfd):
    with TorchSide(conversion[1], Manifest.read(conversion[1])) as side:
        side.load()
        if side.in_force.off:
            pytest.skip(f"this system does not limit everything: {side.in_force.off}")
    kept, path, service = tmp_path / "kept", tmp_path / "made", str(tmp_path / "service")
    kept.write_text("kept")
    with socket.socket() as server, socket.socket(socket.AF_UNIX) as local:
        server.bind(("127.0.0.1", 0))
        server.listen()
        local.bind(service)
        local.listen()
        folder = forged(
            f"""
import ctypes, fcntl, os, resource, signal, socket, subprocess, sys, termios

PATH, KEPT, SERVICE, PID, PORT = {str(path)!r}, {str(kept)!r}, {service!r}, {os.getpid()}, {server.getsockname()[1]}
WEIGHTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "model.safetensors")


def libc(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


try:
    {FORBIDDEN[deed]}
except OSError as error:
    print("refused:", type(error).__name__, file=sys.stderr, flush=True)
else:
    print("done", file=sys.stderr, flush=True)
"""
        )
        weights = (folder / "model.safetensors").read_bytes()
        assert not verified(conversion, folder, weights="model").passed
        for listener in (server, local):
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()
    said = capfd.readouterr().err
    assert "refused" in said and "done" not in said
    assert kept.read_text() == "kept" and not os.path.lexists(path)
    assert (folder / "model.safetensors").read_bytes() == weights


GARBAGE = """
import os
def garbage():
    for fd in range(3, 64):
        try:
            os.write(fd, b"\\xff" * 100)
        except OSError:
            pass
"""
# In k2t's name: the worker is found and its connection used.
SPEAK = """
import gc
import numpy as np
worker = next(one for one in gc.get_objects() if type(one).__name__ == "Worker")
def say(*messages):
    for message in messages:
        worker.channel.send(message)
"""


@pytest.mark.parametrize(
    ("code", "forward"),
    [
        (GARBAGE, "garbage()"),
        (GARBAGE + "garbage()", ""),
        (SPEAK, "say([1], None, {})"),
        (SPEAK, "say(*({'id': n, 'done': ([x.detach().numpy() * 0], False)} for n in range(1000)))"),
        (SPEAK, "say(*({'id': n, 'failed': 'InputError', 'words': 'no'} for n in range(1000)))"),
        (SPEAK, "say(*({'id': n, 'failed': 'Cancelled'} for n in range(1000)))"),
        (SPEAK, "say(*({'id': n, 'share': 9e9, 'text': 'agrees'} for n in range(10_000)))"),
        (SPEAK, "say({'id': 2, 'done': {'a': [np.zeros(3), (1, {'b': None})]}})"),
    ],
    ids=["garbage", "garbage at import", "no answers", "answers", "errors", "cancelled", "progress", "nests"],
)
def test_what_it_says_in_k2ts_name(code, forward, conversion, forged):
    try:
        report = verified(conversion, forged(code, forward), edge_cases=True)
    except k2t.OutputError as error:
        assert "model.py" in str(error) and str(error).isprintable()
    else:
        assert not report.passed


def test_an_error_of_k2ts_own_skips_no_comparison(conversion, forged):
    """What Keras refuses of a batch of k2t's own is not compared, and noted: model.py may not say that of itself."""
    code = """
from k2t_core.errors import InputError
from k2t_core.verification.module_process import ModuleProcess
right = ModuleProcess.outputs
def outputs(self, arrays):
    if len(arrays[0]) != 4:
        raise InputError("not today")
    return right(self, arrays)
ModuleProcess.outputs = outputs
"""
    with pytest.raises(k2t.OutputError, match="model.py: not today"):
        verified(conversion, forged(code, returns=RETURN), edge_cases=True)


LIES = """
from k2t_core.verification.module_process import ModuleProcess

def stretch(self, arrays, keras, wanted, watched):
    found = {name: keras[name] for name in wanted if name in keras}
    return found, found, {name: array.astype("float64") for name, array in found.items()}, {}, {}

def exact_outputs(self, arrays):
    return [array.astype("float64") / 1.01 * 1.001 for array in self.outputs(arrays)[0]]

ModuleProcess.stretch, ModuleProcess.exact_outputs = stretch, exact_outputs
"""


def test_who_lies_of_the_layers_and_of_rounding_is_judged_by_the_outputs(conversion, forged):
    report = verified(conversion, forged(LIES))
    assert all(layer.passed for layer in report.layers), "it lies well, or the test proves nothing"
    assert not report.passed and any("k2t writes it" in note for note in report.notes)


def test_the_search_tells_nothing_to_who_is_compared_next(conversion, forged):
    """It hears on the batch of the search which way it is wrong, and gives what is right where outputs are compared."""
    batch = [np.random.default_rng(0).standard_normal((4, 6)).astype("float32")]
    (right,) = verified(conversion, conversion[1], inputs=batch, weights="model").outputs
    code = """
from k2t_core.verification.module_process import ModuleProcess

wrong, heard = [0.01], []
backward, outputs = ModuleProcess.backward, ModuleProcess.outputs


def hearing(self, *args):
    heard.append(args)
    return backward(self, *args)


def telling(self, arrays):
    wrong[0] = 0.0 if heard else 0.01
    found = outputs(self, arrays)
    wrong[0] = 0.01
    return found


ModuleProcess.backward, ModuleProcess.outputs = hearing, telling
"""
    reach = 1.1 * float(np.abs(right.keras).max())
    folder = forged(code, returns=f"        return x * (1 + wrong[0] * (x.abs() > {reach}))\n")
    usual = verified(conversion, folder, inputs=batch, weights="model")
    assert usual.passed, "the fault is out of reach of this batch, or the test proves nothing"
    assert not verified(conversion, folder, inputs=batch, weights="model", search=3).passed


def test_a_snippet_does_not_stay_either(conversion):
    """Looked at alone, in the process in which the next verification is judged."""
    code = "(setattr(__import__('k2t_core.difference').difference.Difference, 'of', None), x * 2)[1]"
    traced, folder = conversion
    patient = probe(traced, "hidden", [np.ones((2, 6), "float32")])
    recipe = k2t.Recipe((k2t.Override("hidden", "snippet", code),))
    assert not patient.judge(recipe).passed and not patient.judge(recipe).passed
    with pytest.raises(k2t.OutputError, match="layer 'hidden': the process that runs it has ended: it left with"):
        patient.judge(k2t.Recipe((k2t.Override("hidden", "snippet", "__import__('os')._exit(1)"),)))


def test_wrong_weights_differ_whatever_the_file_says(conversion, forged):
    folder = forged(PATCHES["torch"] + PATCHES["Difference.of"], returns=RETURN)
    state = load_file(folder / "model.safetensors")
    save_file({**state, "head.bias": state["head.bias"] * 1.001}, folder / "model.safetensors", {"format": "pt"})
    try:
        report = verified(conversion, folder)
    except k2t.OutputError:
        return
    assert not report.passed and report.weights.unequal[0].key == "head.bias"


def test_onnx_runs_it_elsewhere_too(conversion, forged):
    pytest.importorskip("onnxscript")
    from k2t_core.emit import onnx

    folder = forged(
        PATCHES["Difference.of"] + "\nimport builtins; builtins.k2t_was_here = True", "import os; os._exit(0)"
    )
    with pytest.raises(k2t.OutputError, match="has ended: it left with exit code 0"):
        onnx.write(folder / "model.onnx", conversion[0].graph)
    assert not hasattr(builtins, "k2t_was_here") and not (folder / "model.onnx").exists()
