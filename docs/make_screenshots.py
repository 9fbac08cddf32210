"""The pictures of the app: every page in both themes, and a short walk through it as an animated picture.

    python docs/make_screenshots.py                all of them
    python docs/make_screenshots.py verify walk    these

A server of its own, a real Chromium; docs/screenshots/PAGE.png and PAGE-dark.png, 1280 pixels wide, and docs/walk.gif.
"""

from __future__ import annotations

import os
import sys
import tempfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
HOME = Path(tempfile.mkdtemp(prefix="k2t-screenshots-"))
os.environ["K2T_HOME"] = str(HOME / "home")

from PIL import Image, ImageDraw, ImageFont  # noqa: E402
from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

from k2t_core.project.bundled import examples  # noqa: E402
from k2t_core.project.project import Project  # noqa: E402
from tests.browser.conftest import CHROMIUM_OPTIONS, button, chromium, load, settled, to  # noqa: E402
from tests.served import Server, admitted  # noqa: E402

FOLDER = ROOT / "docs" / "screenshots"
# page: (example, override, words that show it is complete, height, more of the address)
SHOTS = {
    "load": ("shared", None, "Every layer can be converted.", 1360, ""),
    "mapping": ("convnet", None, "Outlined on both sides", 3150, "layer=conv"),
    "convert": ("convnet", None, "All in a zip", 1130, ""),
    "verify": ("convnet", ("flatten", "alternative", "plain flatten", "to see it caught"), "Likely causes", 2900, ""),
    "learn": ("convnet", None, "Agrees.", 1380, "lesson=kernel"),
}
PREDICTED = {"kernel": "all"}
WALK, WALK_SIZE, WALK_WIDTH = ROOT / "docs" / "walk.gif", (1280, 800), 860
COLOURS = 200  # of the animated picture


def prepared(name: str, override: tuple | None) -> Project:
    """A project with an example loaded, converted and verified."""
    project = Project.create()
    path = examples().build(name, HOME / "examples")
    with open(path, "rb") as file:
        project.load(project.receive(path.name, file))
    project.set("learn.predictions", PREDICTED)
    if override is not None:
        project.override(*override)
    project.set("example", name)
    project.verify()
    return project


def still(page: Page) -> None:
    """Wait until all is drawn; charts fade in."""
    settled(page)
    page.wait_for_timeout(2500)


def take(browser: Browser, address: str, name: str) -> None:
    example, override, words, height, more = SHOTS[name]
    project = prepared(example, override)
    for theme, suffix in (("light", ""), ("dark", "-dark")):
        page = browser.new_context(color_scheme=theme, viewport={"width": 1280, "height": height}).new_page()
        page.set_default_timeout(120_000)
        page.goto(f"{address}{'' if name == 'load' else name}?project={project.id}&{more}")
        page.get_by_text(words).first.wait_for()
        still(page)
        path = FOLDER / f"{name}{suffix}.png"
        page.screenshot(path=path)
        page.context.close()
        print(path)


def walk(browser: Browser, address: str) -> None:
    """A model from its file to the proof, a wrong reading caught on the way."""
    page = browser.new_context(
        color_scheme="light", viewport={"width": WALK_SIZE[0], "height": WALK_SIZE[1]}
    ).new_page()
    page.set_default_timeout(120_000)
    frames: list[tuple[Image.Image, int]] = []

    def frame(words: str, seconds: float = 2.2, show: str | None = None) -> None:
        if show is not None:
            page.get_by_text(show).first.evaluate("element => element.scrollIntoView({ block: 'center' })")
        still(page)
        frames.append((captioned(page.screenshot(), words), int(seconds * 1000)))

    path = examples().build("convnet", HOME / "examples")
    page.goto(address)
    page.get_by_text("Choose a model").wait_for()
    frame("A Keras model …", 1.5)
    project = load(page, address, path)
    frame("… with its inputs, outputs and layers")
    page.goto(f"{address}mapping?project={project}&layer=conv")
    page.get_by_text("Outlined on both sides").wait_for()
    frame("What each layer becomes in PyTorch")
    frame("The Keras call beside the lines that it became", show="In PyTorch: model.py")
    frame("What both make of it, and the difference", show="Activations on the current sample")
    frame("A kernel before and after its transpose", show="Outlined on both sides")
    page.goto(f"{address}mapping?project={project}&layer=flatten")
    page.get_by_text("plain flatten", exact=True).wait_for()
    settled(page)
    page.get_by_text("plain flatten", exact=True).click()
    page.get_by_text("This layer alone differs").wait_for()
    frame("Overrule a layer: it is judged at once", show="This layer alone differs")
    to(page, "Convert")
    button(page, "Convert").click()
    page.get_by_text("Converted with the overrides in force.").wait_for()
    frame("The PyTorch source, ready to take away")
    to(page, "Verify")
    button(page, "Verify").click()
    page.get_by_text("Likely causes").wait_for()
    frame("The wrong reading is caught, and its cause named", 3.0)
    frame("Where the difference begins", show="Click on a point")
    page.get_by_role("button", name="Apply this change").first.click()
    page.get_by_text("convert and verify again").first.wait_for()
    settled(page)
    button(page, "Convert and verify again").click()
    page.get_by_text("Both compute the same").wait_for()
    page.evaluate("document.querySelector('[data-testid=stMain]').scrollTo(0, 0)")
    frame("Put right: both compute the same", 3.0)
    page.goto(f"{address}learn?project={project}&lesson=kernel")
    page.get_by_text("It runs, and nearly all of its numbers are others").click()
    page.get_by_text("As you predicted.").wait_for()
    frame("And why it is so: fourteen lessons", 3.0, show="As you predicted.")
    page.context.close()
    pictures = [image.quantize(COLOURS, dither=Image.Dither.NONE) for image, _ in frames]
    pictures[0].save(
        WALK, save_all=True, append_images=pictures[1:], duration=[time for _, time in frames], loop=0, optimize=True
    )
    print(WALK, f"{WALK.stat().st_size / 1e6:.1f} MB, {len(frames)} pictures")


def captioned(shot: bytes, words: str) -> Image.Image:
    """A smaller picture of the page, with words below it."""
    with Image.open(BytesIO(shot)) as image:
        height = round(WALK_WIDTH * image.height / image.width)
        small = image.convert("RGB").resize((WALK_WIDTH, height), Image.Resampling.LANCZOS)
    bar = 44
    whole = Image.new("RGB", (WALK_WIDTH, height + bar), "#0072B2")
    whole.paste(small, (0, 0))
    ImageDraw.Draw(whole).text(
        (WALK_WIDTH // 2, height + bar // 2), words, fill="white", anchor="mm", font=ImageFont.load_default(20)
    )
    return whole


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    server = Server(HOME)
    wanted = sys.argv[1:] or [*SHOTS, "walk"]
    try:
        address = server.start()
        with sync_playwright() as playwright:
            browser = admitted(playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_OPTIONS), server)
            for name in wanted:
                walk(browser, address) if name == "walk" else take(browser, address, name)
            browser.close()
    finally:
        server.stop()


if __name__ == "__main__":
    main()
