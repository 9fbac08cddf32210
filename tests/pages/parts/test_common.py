"""What all pages share: colours of source code that can be read, and words that Markdown takes as they are."""

from __future__ import annotations

import pytest

from pages.parts.common import OnDark, OnLight, plain

MARK, SHARE = "E69F00", 0.22  # `common.MARKED` over the page


def channels(colour: str) -> list[float]:
    return [int(colour[place : place + 2], 16) for place in (0, 2, 4)]


def contrast(*colours: list[float]) -> float:
    """The contrast ratio of WCAG 2."""
    lights = []
    for colour in colours:
        red, green, blue = (
            value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4
            for value in (part / 255 for part in colour)
        )
        lights.append(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@pytest.mark.parametrize(("style", "page"), [(OnLight, "FFFFFF"), (OnDark, "0E1117"), (OnDark, "191816")])
def test_code_can_be_read_on_the_page_and_on_marked_lines(style, page):
    marked = [SHARE * mark + (1 - SHARE) * under for mark, under in zip(channels(MARK), channels(page))]
    colours = {token["color"] for _, token in style if token["color"]}
    assert len(colours) >= 5
    for colour in colours:
        assert min(contrast(channels(colour), channels(page)), contrast(channels(colour), marked)) >= 4.5, colour


def test_names_of_layers_are_shown_as_they_are():
    assert plain("block_1/*conv*:0") == "block\\_1/\\*conv\\*\\:0"
