"""A browser, and the report of a made-up study in it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver

from browsing import ANCHORS, CONCEPTS, SWITCHES, opened
from made_up import made_up_activations, make_up
from vwtransfer.analysis.part_files import write_part
from vwtransfer.report import write_report


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium and driver, "apt-get install chromium chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in SWITCHES:
        options.add_argument(f"--{switch}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs") / "made"
    make_up(
        folder,
        f"concept=[{','.join(CONCEPTS)}]",
        f"anchor=[{','.join(ANCHORS)}]",
        "delta=[null,0.1,0.5]",
        pictures=True,
    )
    columns = made_up_activations("tiny_shapes", CONCEPTS, ANCHORS)
    write_part(folder / "activations" / "a.parquet", columns, "made up")
    return write_report(folder)


@pytest.fixture
def page(browser: WebDriver, report: Path) -> WebDriver:
    opened(browser, report)
    return browser
