"""axe-core on every page in both themes: nothing serious or critical.

tests/browser/axe.min.js is axe-core 4.14.1 as it is on npm.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.conftest import settled

pytestmark = pytest.mark.browser
AXE = Path(__file__).with_name("axe.min.js")
# page → what is unfolded on it
PAGES = {
    "": ["The same by hand"],
    "mapping": [
        "Replace by PyTorch code",
        "Change constructor arguments",
        "Permute a weight",
        "Documentation of both sides",
        "The same by hand",
    ],
    "convert": ["The same by hand"],
    "verify": ["layers in numbers", "The same by hand"],
    "learn": ["The same by hand"],
}
MORE = {"mapping": "layer=conv", "learn": "lesson=lstm"}


def serious(page) -> list[str]:
    """What axe-core finds serious or critical: its rule, the place, and why."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    return [
        f"{one['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", list(PAGES))
def test_nothing_serious(page, opened, name, theme):
    address, project = opened
    page.emulate_media(color_scheme=theme)
    page.goto(f"{address}{name}?project={project}&{MORE.get(name, '')}")
    page.get_by_text("The same by hand").first.wait_for()
    settled(page)
    for words in PAGES[name]:
        page.get_by_text(words).first.click()
        settled(page)
    assert not serious(page)
