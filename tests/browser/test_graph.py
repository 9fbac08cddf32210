"""The graph in a real browser.

Its selection is the table's, it folds, searches, colours and is walked by keyboard, and a rerun leaves it as it is.
"""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import settled, to
from tests.inspector.test_graph_data import tower

pytestmark = pytest.mark.browser

TRANSFORM = "element => new DOMMatrix(getComputedStyle(element).transform).toString()"


@pytest.fixture(scope="module")
def projects(serve, browser, example, tmp_path_factory):
    """``projects(name)``: the Mapping page's address of a fresh project with an example, or the tower of blocks."""
    path = tmp_path_factory.mktemp("models") / "tower.keras"
    tower().save(path)

    def open_(name: str) -> str:
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto(serve())
        page.get_by_role("tab", name="Upload").click()
        page.locator("input[type=file]").first.set_input_files(path if name == "tower" else example(name))
        page.get_by_text("Every layer can be converted.").first.wait_for()
        settled(page)
        project = re.search(r"project=([\w-]+)", page.url)[1]
        page.close()
        return f"{serve()}mapping?project={project}"

    return open_


def show(page, address: str) -> None:
    page.goto(address)
    drawn(page)


def fold_all(page, boxes: int) -> None:
    """Fold what was unfolded to show the row that is selected at first."""
    page.get_by_role("button", name="Fold all", exact=True).click()
    drawn(page, boxes)


def drawn(page, boxes: int | None = None) -> None:
    """Wait until the graph is there, with so many boxes."""
    page.locator(".k2t-graph[data-drawn]" if boxes is None else f".k2t-graph[data-drawn='{boxes}']").first.wait_for()
    settled(page)


def node(page, name: str):
    return page.locator(f'[data-node="{name}"]')


def selected(page) -> list[str]:
    return page.locator(".card.selected").evaluate_all("cards => cards.map(card => card.dataset.node)")


def focused(page) -> str | None:
    """The node that has the keyboard's focus."""
    return page.evaluate(
        """() => {
            let at = document.activeElement;
            while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
            return at?.dataset.node
        }"""
    )


def heading(page, words: str) -> None:
    """Wait for the details of a row, below the table."""
    page.get_by_role("heading", name=words).first.wait_for()
    settled(page)


def test_the_table_and_the_graph_have_one_selection(page, projects):
    show(page, projects("unet"))
    node(page, "down1_norm").click()
    heading(page, "down1_norm BatchNormalization")
    assert selected(page) == ["down1_norm"]
    assert page.locator(".lines .lit").count() == 2  # the edges to and from it
    box = page.get_by_test_id("stDataFrame").first.bounding_box()
    page.mouse.click(box["x"] + 18, box["y"] + 35 * 4 + 18)  # the fourth row, after the names of the columns
    heading(page, "down1_relu ReLU")
    assert selected(page) == ["down1_relu"]


def test_a_rerun_neither_moves_nor_remounts_the_graph(page, projects):
    show(page, projects("unet"))
    page.locator(".canvas").hover()
    page.mouse.down()
    page.mouse.move(500, 300, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="Zoom out").click()
    page.wait_for_timeout(400)
    page.locator(".canvas").evaluate("canvas => canvas.kept = true")
    before = page.locator(".react-flow__viewport").evaluate(TRANSFORM)
    page.locator(".card").nth(2).click()
    settled(page)
    page.get_by_placeholder("Search names").fill("norm")
    page.keyboard.press("Enter")
    settled(page)
    assert page.locator(".canvas").evaluate("canvas => canvas.kept")
    assert page.locator(".react-flow__viewport").evaluate(TRANSFORM) == before
    to(page, "Convert")
    to(page, "Mapping")
    drawn(page)
    assert page.locator(".react-flow__viewport").evaluate(TRANSFORM) == before


def test_the_wheel_scrolls_the_page_and_zooms_with_ctrl(page, projects):
    show(page, projects("unet"))
    before = page.locator(".react-flow__viewport").evaluate(TRANSFORM)
    page.locator(".canvas").hover()
    page.mouse.wheel(0, 100)
    page.get_by_text("Ctrl and the wheel zoom").first.wait_for()
    page.wait_for_function("() => document.querySelector('[data-testid=stMain]').scrollTop > 0")
    assert page.locator(".react-flow__viewport").evaluate(TRANSFORM) == before
    page.locator(".canvas").hover()
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    page.wait_for_timeout(300)
    assert page.locator(".react-flow__viewport").evaluate(TRANSFORM) != before


def test_folds_open_and_close_by_a_click_and_stay_open(page, projects):
    show(page, projects("tower"))
    fold_all(page, 3)  # the input, the sequence, the output
    node(page, "block stage").click()
    drawn(page, 15)
    node(page, "block stage.0").click()
    drawn(page, 19)
    assert node(page, "block stage.0").get_attribute("aria-expanded") == "true"
    page.reload()
    drawn(page, 19)
    node(page, "block stage").locator(".mark").click()
    drawn(page, 3)
    page.get_by_role("button", name="Unfold all").click()
    drawn(page, 63)
    fold_all(page, 3)


def test_a_row_inside_a_fold_is_unfolded_and_brought_into_view(page, projects):
    address = projects("tower")
    show(page, address)
    fold_all(page, 3)
    page.get_by_placeholder("Search names").fill("stage9_add")
    page.keyboard.press("Enter")
    settled(page)
    box = page.get_by_test_id("stDataFrame").first.bounding_box()
    page.mouse.click(box["x"] + 18, box["y"] + 35 + 18)
    heading(page, "stage9_add Add")
    drawn(page, 19)
    (name,) = selected(page)
    card, canvas = node(page, name).bounding_box(), page.locator(".canvas").bounding_box()
    assert canvas["y"] <= card["y"] and card["y"] + card["height"] <= canvas["y"] + canvas["height"]


def test_a_nested_model_called_twice_shows_its_row_in_both(page, projects):
    show(page, projects("shared"))
    page.get_by_role("button", name="Unfold all").click()
    drawn(page, 16)
    page.get_by_role("button", name="Fit all").click()
    page.wait_for_timeout(400)
    node(page, "encoder#2/conv2").click()
    heading(page, "encoder/conv2 Conv2D")
    assert selected(page) == ["encoder/conv2", "encoder#2/conv2"]


def test_searching_counts_what_is_folded_and_goes_there(page, projects):
    show(page, projects("tower"))
    fold_all(page, 3)
    page.locator(".canvas").focus()
    page.keyboard.press("/")
    page.keyboard.type("relu")
    page.locator(".hits", has_text="12").first.wait_for()
    page.get_by_text("12", exact=True).first.wait_for()
    page.keyboard.press("Enter")
    drawn(page, 19)
    page.get_by_text("1 of 12").first.wait_for()
    assert "hit" in node(page, "stage0_relu").get_attribute("class") and "dim" in node(
        page, "stage0_first"
    ).get_attribute("class")
    page.keyboard.press("Shift+Enter")
    page.get_by_text("12 of 12").first.wait_for()
    page.keyboard.press("Escape")
    page.locator(".card.dim").first.wait_for(state="detached")


def test_it_is_coloured_at_will_and_remembers_it(page, projects):
    show(page, projects("convnet"))
    colour = page.get_by_label("Colour by")
    fill = lambda name: node(page, name).evaluate("card => getComputedStyle(card).backgroundColor")  # noqa: E731
    assert colour.locator("option", has_text="Error (verify first)").is_disabled()
    before = fill("classes")
    colour.select_option("parameters")
    page.locator(".k2t-graph[data-colour=parameters]").first.wait_for()
    assert fill("classes") != before and fill("classes") != fill("conv")
    settled(page)
    to(page, "Verify")
    page.get_by_role("button", name="Verify", exact=True).click()
    page.get_by_text("Both compute the same").first.wait_for()
    to(page, "Mapping")
    drawn(page)
    assert page.locator(".k2t-graph").get_attribute("data-colour") == "parameters"
    page.get_by_label("Colour by").select_option("error")
    assert re.fullmatch(r"0|\d\.\de-\d\d", node(page, "conv").get_attribute("data-error"))
    assert page.get_by_text("1e-8").is_visible()
    settled(page)
    page.reload()
    page.locator(".k2t-graph[data-colour=error]").first.wait_for()


def test_the_keyboard_walks_selects_and_folds(page, projects):
    show(page, projects("shared"))
    fold_all(page, 8)
    page.locator(".canvas").focus()
    walked = []
    for key in ("Home", "ArrowRight", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
        page.wait_for_timeout(150)
        walked.append(focused(page))
    assert walked == ["in left", "in right", "in left", "encoder"]
    page.keyboard.press("Enter")
    drawn(page, 12)
    assert focused(page) == "encoder"
    page.keyboard.press("ArrowUp")
    page.wait_for_timeout(150)
    page.keyboard.press("ArrowDown")  # into the fold
    page.wait_for_timeout(150)
    assert focused(page) == "encoder/conv1"
    page.keyboard.press("Enter")
    heading(page, "encoder/conv1 Conv2D")
    assert focused(page) == "encoder/conv1"
    page.keyboard.press("Escape")
    drawn(page, 8)
    page.wait_for_timeout(150)
    assert focused(page) == "encoder"


def test_on_load_a_click_offers_the_row(page, projects):
    page.goto(projects("convnet").replace("mapping?", "?"))
    drawn(page)
    node(page, "classes").click()
    page.get_by_text("classes on the Mapping page").click()
    heading(page, "classes Dense")
    drawn(page)
    assert selected(page) == ["classes"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_telephone_and_has_names_for_everything(page, projects, theme):
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": 390, "height": 800})
    show(page, projects("shared"))
    frame = page.locator(".k2t-graph").bounding_box()
    assert frame["x"] >= 0 and frame["x"] + frame["width"] <= 390
    assert page.locator(".k2t-graph :is(.bar, .legend) *").evaluate_all(
        "all => all.every(one => one.getBoundingClientRect().right <= innerWidth)"
    )
    unnamed = page.locator(".k2t-graph :is(button, input, select, [role=img])").evaluate_all(
        "all => all.filter(one => !one.ariaLabel && !one.labels?.length && !one.textContent.trim()).length"
    )
    assert unnamed == 0
