"""A report in Debian's chromium: opened, filtered, and what its charts hold."""

import math
from functools import partial
from pathlib import Path
from typing import Any

from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

CONCEPTS = ["red_striped_star", "red_striped_heart", "blue_dotted_star"]
ANCHORS = ["zepu", "muli", "bemi"]
DELTAS = [0.1, 0.5, math.inf]
SWITCHES = (
    *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
    *("disable-background-networking", "disable-component-update", "disable-sync"),
    "disable-dev-shm-usage",
    "window-size=1280,900",
)
WORDS = len(CONCEPTS) * len(ANCHORS) * len(DELTAS) * 3


def opened(browser: WebDriver, report: Path, *, width: int = 1280, scripts: bool = True) -> None:
    """Opens a report from disk at a width in pixels, with or without scripts."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    browser.get(report.as_uri())


def one(page: WebDriver, selector: str) -> WebElement:
    return page.find_element(By.CSS_SELECTOR, selector)


def choose(page: WebDriver, name: str, value: str) -> None:
    Select(one(page, f"#filters [name={name}]")).select_by_value(value)


def drawn(page: WebDriver, section: str) -> list[Any]:
    """The charts of a section, brought into view one after the other: their traces' data."""
    place = f"#{section} .plot"
    for chart in page.find_elements(By.CSS_SELECTOR, place):
        page.execute_script("arguments[0].scrollIntoView()", chart)
        WebDriverWait(page, 20).until(partial(_is_drawn, chart))
    script = f"return [...document.querySelectorAll('{place}')].map(c => c.data)"
    found: list[Any] = page.execute_script(script)
    return found


def _is_drawn(chart: WebElement, _page: WebDriver) -> bool:
    return "js-plotly-plot" in (chart.get_attribute("class") or "")


def complaints(page: WebDriver) -> list[str]:
    return [entry["message"] for entry in page.get_log("browser")]
