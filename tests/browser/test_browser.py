"""The report as a person meets it: in a real browser, from disk, by mouse and by keyboard."""

import base64
import shutil
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from browsing import ANCHORS, CONCEPTS, WORDS, choose, complaints, drawn, one, opened
from made_up import make_up
from vwtransfer.report import write_report

pytestmark = pytest.mark.browser


def count(page: WebDriver) -> str:
    return one(page, "#count").text


def cells(page: WebDriver, column: int) -> list[str]:
    """What a column of the table of words shows."""
    found = page.find_elements(By.CSS_SELECTOR, f"#words tbody td:nth-child({column})")
    return [cell.text for cell in found]


def test_it_opens_from_disk_without_a_complaint(page: WebDriver) -> None:
    assert one(page, "html").get_attribute("data-ready") == "true"
    for section in ("figure-3", "figure-6", "activations"):
        assert drawn(page, section)
    assert complaints(page) == []


def test_all_pictures_load(page: WebDriver) -> None:
    page.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    loaded = page.execute_async_script(
        "const done = arguments[0];"
        "Promise.all([...document.querySelectorAll('main img')].map(i =>"
        "  (i.loading = 'eager', i.decode().then(() => i.naturalWidth, () => 0)))).then(done)"
    )
    assert len(loaded) > WORDS
    assert min(loaded) > 0


def test_filters_choose_words_charts_and_pictures(page: WebDriver) -> None:
    assert count(page) == f"{WORDS} of {WORDS} words"
    choose(page, "source", "tiny_owlv2")
    choose(page, "delta", "0.5")
    choose(page, "concept", CONCEPTS[0])
    assert count(page) == f"{len(ANCHORS)} of {WORDS} words"
    assert set(cells(page, 2)) == {"tiny_owlv2"}
    assert sorted(cells(page, 4)) == sorted(ANCHORS)
    shown = page.find_elements(By.CSS_SELECTOR, ".gallery:not([hidden])")
    beside, grid = shown
    assert [g.get_attribute("data-delta") for g in shown] == ["0.5", "0.5"]
    heads = beside.find_elements(By.CSS_SELECTOR, "thead th:not([hidden])")
    assert [head.get_attribute("data-concept") for head in heads] == [CONCEPTS[0]]
    assert len(grid.find_elements(By.CSS_SELECTOR, "tbody tr:not([hidden])")) == 1
    bars = [trace for chart in drawn(page, "figure-3") for trace in chart if trace["type"] == "bar"]
    assert {trace["name"] for trace in bars} == {"tiny_owlv2"}
    assert all("n = 3" in trace["customdata"][0] for trace in bars)
    one(page, "#filters [type=reset]").click()
    assert count(page) == f"{WORDS} of {WORDS} words"


def test_bars_of_a_half_done_study_are_pale_and_say_over_how_many_words_they_are(
    browser: WebDriver, tmp_path: Path
) -> None:
    folder = tmp_path / "made"
    make_up(folder, f"concept=[{','.join(CONCEPTS)}]", f"anchor=[{','.join(ANCHORS)}]")
    (part,) = (folder / "results").glob("*.parquet")
    rows = pq.read_table(part).to_pandas()
    lost = (rows["source_model"] == "tiny_owlv2") & (rows["concept"] == CONCEPTS[0])
    lost |= rows["source_model"] == "tiny_clip"
    pq.write_table(pq.read_table(part).filter(~lost.to_numpy()), part)
    (folder / "results.parquet").unlink()
    opened(browser, write_report(folder))
    assert one(browser, "#incomplete").is_displayed()
    assert "12 of 27 words are missing" in one(browser, ".banner").text
    generation, detection, classification, *_ = drawn(browser, "figure-3")[0]
    assert generation["marker"]["opacity"] == [1]
    assert detection["marker"]["opacity"][0] < 0.5
    assert "n = 6 of 9" in detection["customdata"][0]
    assert classification["y"] == []
    written = browser.execute_script(
        "return document.querySelector('#figure-3 .plot').layout.annotations.map(a => a.text)"
    )
    assert written == ["6 of 9", "none"]


def test_pointing_at_a_bar_gives_its_value_interval_and_words(page: WebDriver) -> None:
    (own, *_), *_ = drawn(page, "figure-3")
    bar = one(page, "#figure-3 .plot .bars .point")
    ActionChains(page).move_to_element(bar).perform()
    said = WebDriverWait(page, 10).until(
        lambda _: page.execute_script("return document.querySelector('.hoverlayer').textContent")
    )
    assert f"{own['y'][0]:.3f} [" in said
    assert "trained in tiny_sd (generation)" in said
    assert "n = 9" in said


def test_the_chart_of_all_words_shows_the_means_that_are_printed(page: WebDriver) -> None:
    own = drawn(page, "figure-3")[0][0]
    one(page, "#figure-3 details:last-of-type summary").click()
    printed = one(page, '#figure-3 [aria-label="tiny_shapes, unconstrained"]').text
    assert f"{own['y'][0]:.2f} [" in printed


def test_the_table_sorts_by_any_column(page: WebDriver) -> None:
    head = one(page, "#words thead th:nth-child(6) button")
    head.click()
    rising = [float(value) for value in cells(page, 6)]
    assert rising == sorted(rising)
    head.click()
    falling = [float(value) for value in cells(page, 6)]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] > rising[0]
    second = one(page, "#words .pager button:nth-child(2)")
    second.click()
    assert len(cells(page, 1)) == WORDS - 50


def test_a_picture_is_enlarged_and_left_by_keyboard(page: WebDriver) -> None:
    thumb = one(page, ".gallery .thumb")
    thumb.send_keys(Keys.ENTER)
    viewer = one(page, "#viewer")
    assert viewer.is_displayed()
    WebDriverWait(page, 10).until(
        lambda _: (one(page, "#viewer img").get_attribute("src") or "").startswith("file:")
    )
    first = one(page, "#viewer figcaption").text
    viewer.send_keys(Keys.ARROW_RIGHT)
    assert one(page, "#viewer figcaption").text != first
    viewer.send_keys(Keys.ARROW_LEFT)
    assert one(page, "#viewer figcaption").text == first
    viewer.send_keys(Keys.ESCAPE)
    assert not viewer.is_displayed()
    assert page.switch_to.active_element == thumb
    assert complaints(page) == []


def test_a_page_that_was_sent_alone_enlarges_what_it_holds(
    browser: WebDriver, report: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "report.html"
    shutil.copy(report, alone)
    opened(browser, alone)
    one(browser, ".gallery .thumb").click()
    assert (one(browser, "#viewer img").get_attribute("src") or "").startswith("data:image/webp")
    assert browser.execute_script("return document.querySelector('#viewer img').naturalWidth") > 0
    assert not one(browser, "#viewer a").is_displayed()
    complaints(browser)  # that the file is not there


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_runs_out_of_the_window(browser: WebDriver, report: Path, width: int) -> None:
    opened(browser, report, width=width)
    drawn(browser, "figure-3")
    size = browser.execute_script("return document.documentElement.scrollWidth")
    assert size <= width
    for chart in browser.find_elements(By.CSS_SELECTOR, "#figure-3 .plot"):
        assert 200 < chart.size["width"] <= width
    assert complaints(browser) == []


PAPER = 703  # pixels of A4 between margins of 12 mm
BACKGROUNDS = """
    const seen = [...document.querySelectorAll("body, body *")].filter((e) => e.checkVisibility());
    const found = new Set(seen.map((e) => getComputedStyle(e).backgroundColor));
    return [...found].filter((c) => !["rgba(0, 0, 0, 0)", "rgb(255, 255, 255)"].includes(c));
"""
CUT = """
    const edge = document.documentElement.clientWidth;
    return [...document.querySelectorAll("table, img, pre")].filter((e) => e.checkVisibility())
        .filter((e) => e.closest("#words") === null)  // which stands on a wider page
        .filter((e) => e.getBoundingClientRect().right > edge + 1)
        .map((e) => e.outerHTML.slice(0, 100));
"""


def test_on_paper_nothing_is_cut_off_or_dark_and_controls_are_gone(
    browser: WebDriver, report: Path
) -> None:
    opened(browser, report, width=PAPER)
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        for gone in (
            "#filters",
            "nav",
            "#words button",
            "#figure-3 .plots",
            "#activations .sheets",
        ):
            assert not one(browser, gone).is_displayed(), gone
        for section in ("figure-3", "figure-6"):
            assert one(browser, f"#{section} img.whole").is_displayed()
        assert one(browser, "#answer .thumb img").is_displayed()
        assert browser.execute_script(BACKGROUNDS) == []
        assert browser.execute_script(CUT) == []
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert not one(browser, "#figure-3 img.whole").is_displayed()
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"]
    assert base64.b64decode(printed).startswith(b"%PDF")


def test_without_scripts_figures_pictures_and_words_are_there(
    browser: WebDriver, report: Path
) -> None:
    opened(browser, report, scripts=False)
    try:
        assert not one(browser, "#filters").is_displayed()
        for section in ("figure-3", "figure-6"):
            assert one(browser, f"#{section} img.whole").is_displayed()
        assert len(browser.find_elements(By.CSS_SELECTOR, "#words tbody tr")) == WORDS
        assert one(browser, ".gallery .thumb img").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


CONTRASTS = """
    const found = [];
    const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const light = ([r, g, b]) =>
        0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const behind = (e) => {
        const colour = numbers(getComputedStyle(e).backgroundColor);
        if (colour.length < 4 || colour[3] === 1) return colour;
        return e.parentElement ? behind(e.parentElement) : [255, 255, 255];
    };
    for (const e of document.querySelectorAll("body *")) {
        const words = [...e.childNodes].filter((n) => n.nodeType === 3 && n.textContent.trim());
        if (!words.length || !e.checkVisibility() || e.disabled || e.closest("svg")) continue;
        const [a, b] = [light(numbers(getComputedStyle(e).color)), light(behind(e))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        found.push([ratio, e.outerHTML.slice(0, 100)]);
    }
    return found;
"""


@pytest.mark.parametrize("width", [1280, 390])
def test_text_stands_out_from_what_is_behind_it(
    browser: WebDriver, report: Path, width: int
) -> None:
    opened(browser, report, width=width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    drawn(browser, "figure-3")
    found = browser.execute_script(CONTRASTS)
    assert len(found) > 100
    assert min(found)[0] >= 4.5, min(found)


def test_it_can_be_read_aloud_and_stepped_through(page: WebDriver) -> None:
    unnamed = page.execute_script(
        "return [...document.querySelectorAll('main img, #filters select, .plot, button')]"
        ".filter(e => !(e.alt || e.getAttribute('aria-label') || e.labels?.length"
        " || e.textContent.trim())).map(e => e.outerHTML.slice(0, 100))"
    )
    assert unnamed == []
    levels = page.execute_script(
        "return [...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    one(page, "body").send_keys(Keys.TAB)
    assert page.switch_to.active_element.get_attribute("class") == "skip"
