"""Messages of one line."""

from k2t_core.errors import UnsupportedError, named, one_line, own_words


def test_one_line_of_a_long_coloured_message():
    text = one_line(ValueError("\x1b[1mfirst\x1b[0m\n\n  second\tthird"))
    assert text == "first second third"
    assert one_line("x" * 300, 10) == "x" * 9 + "…"
    assert named(KeyError("x")) == "KeyError: 'x'"
    assert named(ValueError()) == "ValueError"


def test_what_keras_writes_around_an_error_is_left_out():
    error = ValueError("Exception encountered when calling A.call().\n\n\x1b[1mno\nsuch axis\x1b[0m\n\nArguments: …")
    assert own_words(error) == "no\nsuch axis" and named(error) == "ValueError: no such axis"


def test_nothing_that_a_terminal_would_obey():
    assert one_line("a\x1b[2J\x1b]0;t\x07b\u202e\x00\ud800") == "a\ufffd[2J\ufffd]0;t\ufffdb\ufffd\ufffd\ufffd"


def test_all_problems_are_told_at_once():
    error = UnsupportedError(["a", "b"])
    assert error.problems == ["a", "b"] and str(error) == "2 unsupported: a | b"
    assert str(UnsupportedError(["a"])) == "a"
