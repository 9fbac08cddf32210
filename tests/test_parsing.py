"""Source is parsed in several threads at once, by Streamlit too, and what is no Python is said."""

import ast
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from k2t_core import parsing

SOURCE = "\n".join(f"x{k} = f({'(' * 30}{k}{')' * 30}, [a + b for a in c])" for k in range(200))


@pytest.fixture
def hasty():
    """Threads take turns as often as they can, so that one is in the midst of another's tree."""
    kept = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(kept)


@pytest.fixture
def guarded(monkeypatch):
    monkeypatch.setattr(ast, "parse", ast.parse)  # which is put back
    parsing.guard()


def test_threads_do_not_hurt_one_another(hasty, guarded):
    from streamlit.runtime.scriptrunner.magic import add_magic

    wanted = ast.dump(parsing.parse(SOURCE))
    with ThreadPoolExecutor(6) as pool:
        ours = [pool.submit(parsing.parse, SOURCE) for _ in range(12)]
        pages = [pool.submit(add_magic, SOURCE, "page.py") for _ in range(12)]
        others = [pool.submit(ast.parse, SOURCE) for _ in range(12)]
        assert all(ast.dump(task.result()) == wanted for task in (*ours, *others))
        assert all(task.result() is not None for task in pages)


def test_what_is_no_python_is_said():
    with pytest.raises(SyntaxError):
        parsing.parse("x =")
    assert isinstance(parsing.parse("x + 1", mode="eval"), ast.Expression)


def test_it_is_tried_again_where_another_way_of_parsing_came_in_between(monkeypatch):
    calls = []

    def parse(source):
        calls.append(source)
        if len(calls) < 3:
            raise SystemError("AST constructor recursion depth mismatch (before=24, after=18)")
        return "tree"

    monkeypatch.setattr(parsing, "_parse", parse)
    assert parsing.parse("x") == "tree" and len(calls) == 3
    monkeypatch.setattr(parsing, "_parse", lambda source: (_ for _ in ()).throw(SystemError("another")))
    with pytest.raises(SystemError, match="another"):
        parsing.parse("x")
