"""Source is parsed in several threads at once, and what is no Python is said."""

import ast
from concurrent.futures import ThreadPoolExecutor

import pytest

from k2t_core import parsing

SOURCE = "\n".join(f"x{k} = f({'(' * 30}{k}{')' * 30}, [a + b for a in c])" for k in range(200))


def test_threads_do_not_hurt_one_another():
    wanted = ast.dump(ast.parse(SOURCE))
    with ThreadPoolExecutor(4) as pool:
        assert all(ast.dump(tree) == wanted for tree in pool.map(parsing.parse, [SOURCE] * 24))


def test_what_is_no_python_is_said():
    with pytest.raises(SyntaxError):
        parsing.parse("x =")


def test_it_is_tried_again_where_another_thread_was_at_it(monkeypatch):
    calls = []

    def parse(source):
        calls.append(source)
        if len(calls) < 3:
            raise SystemError("AST constructor recursion depth mismatch (before=24, after=18)")
        return "tree"

    monkeypatch.setattr(parsing.ast, "parse", parse)
    assert parsing.parse("x") == "tree" and len(calls) == 3
    monkeypatch.setattr(parsing.ast, "parse", lambda source: (_ for _ in ()).throw(SystemError("another")))
    with pytest.raises(SystemError, match="another"):
        parsing.parse("x")
