"""What the page computes of chosen words is what Python computes; two generators are two."""

import math
from pathlib import Path

import pytest
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By

from browsing import ANCHORS, CONCEPTS, choose, complaints, drawn, one, opened
from made_up import make_up
from vwtransfer.report import write_report
from vwtransfer.report.study_reader import read_study
from vwtransfer.results import read
from vwtransfer.results.statistics import Estimate, bootstrap_mean, retention

pytestmark = pytest.mark.browser


def retained(page: WebDriver) -> dict[tuple[str, str], str]:
    """(source model, target model) -> what the page says of its retention."""
    script = (
        "return [...document.querySelectorAll('#retention > .table tr')]"
        ".map(r => [...r.cells].map(c => c.textContent))"
    )
    (_, *targets), *rows = page.execute_script(script)
    found = {
        (source, t): text for source, *texts in rows for t, text in zip(targets, texts, strict=True)
    }
    return {(s.split()[0], t.split()[1]): text for (s, t), text in found.items()}


def numbers(text: str) -> list[float]:
    """`0.86 [0.78, 0.93]` as three numbers."""
    return [float(part.strip("[],")) for part in text.split()]


def alike(text: str, wanted: Estimate) -> bool:
    """Whether a text says the estimate, its interval from other draws."""
    value, *ends = numbers(text)
    if abs(value - wanted.value) > 0.0051:
        return False
    return [wanted.low, wanted.high] == pytest.approx(ends, abs=0.06)


def test_retention_of_all_words_is_the_computed_one(page: WebDriver, report: Path) -> None:
    study = read_study(report.parent)
    for chosen, delta in (("", math.inf), ("0.5", 0.5)):
        choose(page, "delta", chosen)
        found, wanted = retained(page), study.retentions["least_squares", delta].directions
        assert len(wanted) == 6
        for direction, each in wanted.items():
            assert found[direction] == ("undefined" if math.isnan(each.value) else str(each))
    assert {found[model, model] for model in study.sources} == {"own"}
    choose(page, "source", "tiny_sd")
    choose(page, "target", "tiny_clip")
    assert list(retained(page)) == [("tiny_sd", "tiny_clip")]


def test_retention_of_chosen_words_is_computed_by_the_same_definition(
    page: WebDriver, report: Path
) -> None:
    frame = read(report.parent)
    for name, value in (("anchor", ANCHORS[0]), ("concept", CONCEPTS[0])):
        choose(page, name, value)
        wanted = retention(frame[frame[name] == value], "least_squares").directions
        found = retained(page)
        for direction, each in wanted.items():
            if math.isnan(each.value):
                assert found[direction] == "undefined"
            else:
                assert alike(found[direction], each), (direction, found[direction], str(each))
        one(page, "#filters [type=reset]").click()


def test_means_of_chosen_words_are_computed_by_the_same_definition(
    page: WebDriver, report: Path
) -> None:
    frame = read(report.parent)
    own = frame[(frame["source_model"] == "tiny_clip") & (frame["target_model"] == "tiny_clip")]
    own = own[(own["metric"] == "classifier_accuracy") & (own["delta"] == 0.5)]
    choose(page, "delta", "0.5")
    choose(page, "anchor", ANCHORS[0])
    rows = own[own["anchor"] == ANCHORS[0]]
    wanted = bootstrap_mean(rows["value"], rows["concept"].tolist())
    trace = next(trace for trace in drawn(page, "figure-3")[2] if trace.get("name") == "tiny_clip")
    assert trace["y"] == [pytest.approx(wanted.value, abs=1e-4)]
    up, down = trace["error_y"]["array"][0], trace["error_y"]["arrayminus"][0]
    assert [wanted.value + up, wanted.value - down] == pytest.approx(
        [wanted.high, wanted.low], abs=0.03
    )


def test_two_generators_are_two_panels_and_two_choices(browser: WebDriver, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    chosen = ["model=paper", "model/generation=[sd15,sd21]", "dataset=coco", "delta=null"]
    make_up(folder, *chosen, "concept=[bear,cup]", "anchor=[bear,cup]", pictures=True)
    opened(browser, write_report(folder))
    charts = drawn(browser, "figure-3")
    assert len(charts) == 5
    names = [trace["name"] for trace in charts[0] if trace["type"] == "bar"]
    assert names == ["sd15", "sd21", "owlv2_base", "dfn_clip"]
    colours = {t["marker"]["color"] for t in charts[0] if t["type"] == "bar"}
    assert len(colours) == 4
    choose(browser, "target", "sd21")
    assert len(drawn(browser, "figure-3")) == 1
    shown = browser.find_elements(By.CSS_SELECTOR, ".gallery:not([hidden])")
    assert {g.get_attribute("data-target") for g in shown} == {"", "sd21"}
    assert list(retained(browser)) == [(m, "sd21") for m in names]
    assert complaints(browser) == []
