"""Every page at the width of a desk, a tablet and a telephone, in both themes: nothing runs out of the page."""

from __future__ import annotations

import pytest

from tests.browser.conftest import settled

pytestmark = pytest.mark.browser
WIDTHS = (1280, 768, 390)
PAGES = {"": "", "mapping": "layer=flatten", "convert": "", "verify": "", "learn": "lesson=attention&heads=4"}
# Elements that stick out of the window, except where a part that scrolls by itself holds them.
STICKING_OUT = """() => [...document.querySelectorAll('[data-testid=stMain] *')].filter(element => {
    const box = element.getBoundingClientRect();
    if (!box.width || element.closest('details:not([open])')) return false;
    if (box.right <= innerWidth + 1 && box.left >= -1) return false;
    let around = element.parentElement;
    for (; around && around.dataset.testid !== 'stMain'; around = around.parentElement)
        if (getComputedStyle(around).overflowX !== 'visible') return false;
    return true;
}).slice(0, 5).map(element => element.dataset.testid + ' ' + element.textContent.slice(0, 60))"""
# Texts of too little contrast with what lies behind them, where both are plain colours.
# A slider's number lies beside its thumb.
PALE = """() => {
    const linear = v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = text => {
        const [r, g, b] = text.match(/[\\d.]+/g).map(v => linear(Number(v) / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = element => {
        for (; element; element = element.parentElement) {
            const colour = getComputedStyle(element).backgroundColor;
            if (!/, 0\\)|transparent/.test(colour)) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    return [...document.querySelectorAll('[data-testid=stMain] :is(p, label, h1, h2, h3, code)')].filter(element => {
        const back = behind(element), front = getComputedStyle(element).color;
        if (!element.textContent.trim() || /rgba/.test(back + front)) return false;
        if (element.closest('[disabled], [aria-disabled=true], [data-testid=stSlider]')) return false;
        const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05) < 4.5;
    }).slice(0, 5).map(element => {
        return element.tagName + ' ' + getComputedStyle(element).color + ' ' + element.textContent.slice(0, 60);
    });
}"""


@pytest.mark.parametrize("name", list(PAGES))
def test_nothing_runs_out_of_a_page(page, opened, name):
    address, project = opened
    page.goto(f"{address}{name}?project={project}&{PAGES[name]}")
    page.get_by_text("The same by hand").first.wait_for()
    settled(page)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 1000})
        for _ in range(20):  # charts and tables follow
            if not page.evaluate(STICKING_OUT):
                break
            page.wait_for_timeout(200)
        assert not page.evaluate(STICKING_OUT), width
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width, width
    page.emulate_media(color_scheme="dark")
    page.reload()
    page.get_by_text("The same by hand").first.wait_for()
    settled(page)
    assert not page.evaluate(PALE)
