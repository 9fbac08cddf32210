"""Numbers in words, and text that may be printed."""

from __future__ import annotations

import pytest

from k2t_core.words import power_text, printable, size_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (50 * 2**20, "50.0 MiB"),
        (2**31, "2.0 GiB"),
        (3000 * 2**30, "3000.0 GiB"),
    ],
)
def test_sizes(count, text):
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1e-4, "1e-4"), (0.1024, "1.02e-1"), (5e-12, "5e-12"), (1.0, "1e0"), (100.0, "1e2")]
)
def test_tolerances(value, text):
    assert power_text(value) == text


def test_what_is_no_letter_of_a_line_is_not_printed():
    assert printable("plain é 🧮\nnext") == "plain é 🧮\nnext"
    assert printable("a\x1b]0;b\x07\r\u202ec\x9b") == "a\ufffd]0;b\ufffd\ufffd\ufffdc\ufffd"
