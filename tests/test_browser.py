"""The explorer as its user has it: a real JupyterLab and the Voila page, in Chromium, on the shipped generators."""

import io

import browser
import numpy as np
import pytest
from PIL import Image

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not browser.CHROMIUM, reason="needs Chromium: install it, or name it in CHROMIUM"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return browser.copy(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def address(root):
    with browser.server(root) as address:
        yield address


@pytest.fixture(scope="module", params=browser.PAGES)
def opened(address, request):
    with browser.page(address, request.param) as (tab, errors):
        yield tab, errors


def look(tab, panel: str, place: int = 0) -> np.ndarray:
    """The pixels of a picture as they are on the screen."""
    return np.asarray(Image.open(io.BytesIO(browser.pictures(tab, panel).nth(place).screenshot())).convert("RGB"))


def wait_for_words(tab, panel: str, words: str) -> None:
    """Until the first picture of the panel says so to a screen reader."""
    browser.pictures(tab, panel).first.and_(tab.get_by_alt_text(words, exact=True)).wait_for()


def test_a_slider_moved_by_keyboard_draws_anew(opened):
    tab, _ = opened
    handle = browser.slider(tab, "t")
    handle.press("Home")
    wait_for_words(tab, "interpolation", "t = 0.00")
    before = look(tab, "interpolation")
    for _ in range(25):
        handle.press("ArrowRight")
    wait_for_words(tab, "interpolation", "t = 0.25")
    assert np.abs(look(tab, "interpolation").astype(int) - before).mean() > 1


def test_a_slider_dragged_by_mouse_draws_the_last_place_and_not_every_one(opened):
    tab, _ = opened
    handle = browser.slider(tab, "t")
    handle.press("Home")
    wait_for_words(tab, "interpolation", "t = 0.00")
    before = look(tab, "interpolation")
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    y = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + 8, y)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] - 1, y, steps=60)
    tab.mouse.up()
    wait_for_words(tab, "interpolation", "t = 1.00")
    assert np.abs(look(tab, "interpolation").astype(int) - before).mean() > 1


def test_one_set_of_sliders_moves_all_seven_priors(opened):
    tab, _ = opened
    assert browser.pictures(tab, "every prior").count() == 7
    before = [look(tab, "every prior", place) for place in range(7)]
    source = browser.pictures(tab, "every prior").first.get_attribute("src")
    browser.slider(tab, "push 1", "every prior").press("End")
    tab.wait_for_function("source => ![...document.images].some((image) => image.src === source)", arg=source)
    moved = [np.abs(look(tab, "every prior", place).astype(int) - before[place]).mean() for place in range(7)]
    assert min(moved) > 0.5, moved


def test_directions_go_back_to_the_seed(opened):
    tab, _ = opened
    source = browser.pictures(tab, "directions").first.get_attribute("src")
    browser.slider(tab, "direction 1", "directions").press("End")
    tab.wait_for_function("source => ![...document.images].some((image) => image.src === source)", arg=source)
    tab.get_by_role("button", name="back to the seed").click()
    tab.wait_for_function("source => [...document.images].some((image) => image.src === source)", arg=source)


def test_what_is_seen_can_be_saved(opened, root):
    tab, _ = opened
    tab.get_by_role("button", name="save").nth(2).click()
    tab.get_by_text("saved results/saved/").wait_for()
    picture = next((root / "results" / "saved").glob("*directions*.png"))
    assert Image.open(picture).size == (32, 32)
    with np.load(picture.with_suffix(".npz"), allow_pickle=False) as arrays:
        assert arrays["latents"].shape == (1, 100)
    for path in picture.parent.iterdir():
        path.unlink()


def test_every_control_has_a_name(opened):
    tab, _ = opened
    unnamed = tab.evaluate("""() => {
        const controls = document.querySelectorAll(
            ".jp-OutputArea-output :is(input, select, textarea, button, [role=slider], [contenteditable=true])");
        const named = (control) => control.getAttribute("aria-label") || control.textContent.trim()
            || [...(control.labels || [])].some((label) => label.textContent.trim());
        return [controls.length, ...[...controls].filter((control) => !named(control)).map((c) => c.outerHTML)];
    }""")
    assert unnamed[0] > 30 and unnamed[1:] == []


def test_moves_are_measured_and_the_console_has_no_error(opened):
    tab, errors = opened
    times = browser.latencies(tab, "t", "interpolation", moves=5)
    assert len(times) == 5 and all(milliseconds > 0 for milliseconds in times)
    assert errors == []


def test_without_the_token_nobody_gets_in(address):
    import urllib.error
    import urllib.request

    plain = address.split("?")[0]
    for path in ("/api/contents", browser.PAGES["voila"]):
        try:
            answer = urllib.request.urlopen(plain.format(path), timeout=60)
        except urllib.error.HTTPError as error:
            assert error.code == 403
        else:
            assert "/login" in answer.url
