"""The files of a conversion take their place all at once, at whatever step the process is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from k2t_core.emit.committing import COMMITTED, clear, commit, recover, stage
from tests.emit.deaths import NAMES, NEW, OLD, prepare_convert
from tests.killing import deaths, random_deaths

ROOT = Path(__file__).resolve().parents[2]


def first(folder):
    folder.mkdir()
    prepare_convert(folder)


def state(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def recovered(folder):
    """What stands there once k2t has opened it again."""
    recover(folder)
    clear(folder)
    assert [path.name for path in folder.iterdir() if path.is_dir()] == [], "nothing is left lying about"
    return state(folder)


def test_killed_at_every_step_it_is_the_old_or_the_new(tmp_path):
    found = [recovered(folder) for folder in deaths("tests.emit.deaths", "convert", tmp_path, "steps")]
    assert len(found) > 15 and OLD in found and found[-1] == NEW
    assert found == sorted(found, key=lambda one: one == NEW), "once it is new it stays new"
    assert all(one in (OLD, NEW) for one in found)


def test_killed_at_random_moments_it_is_the_old_or_the_new(tmp_path):
    found = [recovered(folder) for folder in deaths("tests.emit.deaths", "convert", tmp_path, random_deaths())]
    assert len(found) == 1 + random_deaths() and NEW in found and all(one in (OLD, NEW) for one in found)


def test_a_second_death_while_recovering_is_recovered_from(tmp_path):
    first(tmp_path / "out")
    (tmp_path / "out" / COMMITTED).mkdir()
    for name in (".gone", *NAMES):
        (tmp_path / "out" / COMMITTED / name).write_text("model.onnx" if name == ".gone" else f"new {name}")
    os.replace(
        tmp_path / "out" / COMMITTED / NAMES[0], tmp_path / "out" / NAMES[0]
    )  # as far as the first recovery came
    recover(tmp_path / "out")
    assert state(tmp_path / "out") == NEW


@pytest.mark.parametrize("odd", ["a link", "a pipe", "no text", "nothing"])
def test_a_committed_folder_of_a_strangers_making_moves_nothing_and_holds_nobody_up(odd, tmp_path):
    first(tmp_path / "out")
    first(tmp_path / "victim")
    (tmp_path / "victim" / ".gone").touch()
    if odd == "a link":
        os.symlink("../victim", tmp_path / "out" / COMMITTED)
    else:
        (tmp_path / "out" / COMMITTED).mkdir()
        if odd == "a pipe":
            os.mkfifo(tmp_path / "out" / COMMITTED / ".gone")
        elif odd == "no text":
            (tmp_path / "out" / COMMITTED / ".gone").write_bytes(b"\xff\xfe")
    recover(tmp_path / "out")
    assert state(tmp_path / "out") == OLD
    assert state(tmp_path / "victim") == {**OLD, ".gone": ""}


def test_a_committed_folder_cannot_reach_out_of_its_own(tmp_path):
    first(tmp_path / "out")
    (tmp_path / "precious.txt").write_text("mine")
    (tmp_path / "out" / COMMITTED).mkdir()
    (tmp_path / "out" / COMMITTED / ".gone").write_text(f"../precious.txt\n{tmp_path / 'precious.txt'}\nnotes.txt")
    (tmp_path / "out" / COMMITTED / "notes.txt").write_text("theirs")
    (tmp_path / "out" / COMMITTED / "model.py").write_text("new model.py")
    recover(tmp_path / "out")
    assert (tmp_path / "precious.txt").read_text() == "mine"
    assert state(tmp_path / "out") == {**OLD, "model.py": "new model.py"}


WRITER = """
import sys
from pathlib import Path
from k2t_core.emit.committing import commit, recover, stage
folder, own = Path(sys.argv[1]), sys.argv[2]
names = ("manifest.json", "model.py", "model.safetensors", "recipe.json")
for k in range(40):
    staging = stage(folder)
    for name in names:
        (staging / name).write_text(f"{own} {k}")
    commit(staging, names)
    recover(folder)
"""


def test_processes_that_write_at_once_leave_one_of_theirs(tmp_path):
    first(tmp_path / "out")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WRITER, str(tmp_path / "out")]
    writers = [subprocess.Popen([*command, own], env=environment, stderr=subprocess.PIPE, text=True) for own in "abc"]
    for writer in writers:
        assert writer.wait() == 0, writer.stderr.read()
    found = state(tmp_path / "out")
    assert len({found[name] for name in NAMES}) == 1 and found["notes.txt"] == "old notes.txt"
    clear(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == []


def test_what_another_process_writes_at_this_moment_is_left_alone(tmp_path):
    first(tmp_path / "out")
    other = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        theirs = tmp_path / "out" / f".k2t-{other.pid}-abc"
        theirs.mkdir()
        staging = stage(tmp_path / "out")
        for name in NAMES:
            (staging / name).write_text(f"new {name}")
        commit(staging, NAMES, ["model.onnx"])
        assert state(tmp_path / "out") == NEW and theirs.is_dir()
    finally:
        other.communicate()
    clear(tmp_path / "out")
    assert not theirs.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_an_error_of_the_system(tmp_path):
    first(tmp_path / "out")
    (tmp_path / "out").chmod(0o500)
    with pytest.raises(OSError):
        stage(tmp_path / "out")
