"""README and CI: the commands that are written there exist and do what is said, and every link leads somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main

from k2t_core import cli
from k2t_core.project.bundled import examples

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BESIDE = {"tf_keras"}  # installed without its dependencies, and found where it is
MEASURED = {"keras_hub"}  # what one benchmark is given by hand: it asks for more than all of k2t does
COMMANDS = typer.main.get_command(cli.app).commands


def marked(marker: str) -> list[str]:
    """The steps of the one-line command after ``<!-- marker -->``."""
    found = re.findall(rf"<!-- {marker} -->\n```bash\n(.*)\n```", README)
    assert len(found) == 1, marker
    return found[0].split(" && ")


def test_two_commands_from_nothing():
    for marker, extra in (("app command", "."), ("test command", ".[test]")):
        make, install, keras2, _ = marked(marker)
        assert make == "python3 -m venv .venv"
        assert shlex.split(install) == [".venv/bin/pip", "install", "-q", "-c", "constraints.txt", "-e", extra]
        assert shlex.split(keras2) == [
            ".venv/bin/pip",
            "install",
            "-q",
            "--no-deps",
            "-c",
            "constraints.txt",
            "tf_keras",
        ]
    assert "test" in PROJECT["optional-dependencies"]


def test_the_app_command_opens_a_bundled_example():
    program, command, *arguments = shlex.split(marked("app command")[-1])
    assert program == ".venv/bin/k2t" and PROJECT["scripts"]["k2t"] == "k2t_core.cli:entry"
    given = COMMANDS[command].make_context(command, arguments).params
    assert given["example"] in examples().EXAMPLES and given["model"] is None


def test_ci_runs_the_test_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    extract = re.search(r"command=\$\((awk .*)\)", script)[1]
    done = subprocess.run(["bash", "-c", extract], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == " && ".join(marked("test command"))
    assert shlex.split(marked("test command")[-1])[:3] == [".venv/bin/python", "-m", "pytest"]


def test_every_command_and_option_exists():
    lines = re.findall(r"^k2t (\w+) (.*?) +# ", README, flags=re.MULTILINE)
    assert sorted(name for name, _ in lines) == sorted(COMMANDS)
    for name, rest in lines:
        options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
        assert set(re.findall(r"(?<!\w)--?\w+", rest)) <= options, name
    everywhere = {option for command in COMMANDS.values() for parameter in command.params for option in parameter.opts}
    assert {"--rules", "--allow-unsafe"} <= everywhere and "`--rules FILE`" in README and "`--allow-unsafe`" in README


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_every_link_leads_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def test_every_direct_dependency_is_pinned_and_installed():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    pinned = dict(line.split("==") for line in lines)
    wanted = {
        re.match(r"[\w-]+", line)[0] for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    }
    assert set(pinned) == wanted | BESIDE


def test_what_is_imported_is_declared():
    """Each third-party module that k2t, its app or its tests import belongs to a direct dependency."""
    homes = {"tensorflow": "tensorflow-cpu"}
    declared = {
        re.match(r"[\w-]+", line)[0] for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    }
    own = {"k2t_core", "pages", "tests", "benchmarks", "shop_rules"} | set(sys.stdlib_module_names)
    files = [
        path
        for folder in ("k2t_core", "pages", "tests", "examples", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    ]
    for path in [ROOT / "app.py", *files]:
        for name in re.findall(
            r"^[ ]*(?:import|from) ([a-z_0-9]+)[\w. ]*(?:import|$)",
            path.read_text(encoding="utf-8"),
            flags=re.MULTILINE,
        ):
            assert name in own or homes.get(name, name) in declared | BESIDE | MEASURED, f"{path}: {name}"
