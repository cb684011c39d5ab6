"""How large the report of the paper's 4,800 words gets, and how soon it can be used.

    .venv/bin/python benchmarks/report.py [FOLDER]

makes up a study of that size (numbers and pictures drawn at random, called "made-up"; no model is
asked) with all that `action=figures` leaves, writes its report, opens it from disk in Debian's
chromium, and prints sizes and times. Measured numbers stand in docs/report.md.
"""

import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from made_up import made_up_activations, make_up
from vwtransfer.analysis.part_files import write_part
from vwtransfer.analysis.word_tables import GROUP, NUM_NEIGHBOURS
from vwtransfer.evaluation.saved_images import image_path
from vwtransfer.evaluation.specs import specs_of
from vwtransfer.report import write_report
from vwtransfer.report.figures.activations import SHEET, activation_figures, sheet_name
from vwtransfer.report.study_folder import KINDS
from vwtransfer.report.study_reader import read_study

DATASETS = ("imagenet", "dreambooth", "coco", "pascal")
DELTAS = "[0.1,0.2,0.5,1.0]"
LAYERS = {"sd21": 23, "owlv2_base": 12, "dfn_clip": 12}
VECTORS = 4
PICTURES = 40  # different ones, of 512 x 512 pixels, as files of a study are at most
READY = """
    const [entry] = performance.getEntriesByType("navigation");
    return [entry.domContentLoadedEventEnd / 1000, entry.loadEventEnd / 1000];
"""

CHARTS = """
    const done = arguments[0], began = performance.now();
    const look = () => {
        if (document.querySelector(".plot .bars")) done((performance.now() - began) / 1000);
        else setTimeout(look, 5);
    };
    document.querySelector(".plot").scrollIntoView();
    look();
"""


def main(folder: Path) -> None:
    """Makes the study up unless it is there, and measures."""
    if not folder.exists():
        make_up(
            folder,
            "model=paper",
            f"dataset=[{','.join(DATASETS)}]",
            "concept=all",
            "anchor=all",
            f"delta={DELTAS}",
        )
        study = read_study(folder)
        _pictures(folder, study.frame)
        _tables(folder, study.frame)
        _sheets(folder)
    began = time.perf_counter()
    report = write_report(folder)
    print(f"written in {time.perf_counter() - began:.0f} s: {report.stat().st_size / 1e6:.1f} MB")
    _opened(report)


def _pictures(folder: Path, frame: pd.DataFrame) -> None:
    """Every word's generation and detection: links to a few photo-like files."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(PICTURES):
        coarse = rng.integers(0, 256, (12, 12, 3)).astype(np.uint8)
        smooth = Image.fromarray(coarse).resize((512, 512), Image.Resampling.BICUBIC)
        noisy = np.asarray(smooth) + rng.normal(0, 12, (512, 512, 3))
        files.append(folder / "drawn" / f"{number}.png")
        files[-1].parent.mkdir(exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(files[-1])
    words = frame[frame["kind"] == "word"]
    for kind in ("images", "detections"):
        made = words[words["target_task"] == KINDS[kind]]
        for i, spec in enumerate(dict.fromkeys(specs_of(made))):
            path = image_path(folder / kind, spec, 0)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.hardlink_to(files[i % PICTURES])
    for dataset, concept in words[["dataset", "concept"]].drop_duplicates().values:
        path = folder / "targets" / dataset / f"{concept}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(files[0])


def _tables(folder: Path, frame: pd.DataFrame) -> None:
    """activations/ and neighbours/ of every word in every model."""
    words = frame[frame["kind"] == "word"]
    group = [*GROUP]
    for key, rows in words.groupby(group):
        part = dict(zip(group, key, strict=True))
        pairs = rows[["concept", "anchor"]].drop_duplicates()
        concepts, anchors = sorted(pairs["concept"].unique()), sorted(pairs["anchor"].unique())
        name = "-".join(map(str, key)) + ".parquet"
        layers = LAYERS[part["target_model"]]
        columns = made_up_activations(part["dataset"], concepts, anchors, layers)
        shown = {1, 8, 16, 23} if layers == 23 else {1, 4, 8, 12}
        nowhere = [layer not in shown for layer in columns["layer"]]
        for axis in ("x", "y"):
            columns[axis] = np.where(nowhere, np.nan, np.array(columns[axis], float)).tolist()
        columns |= {name: [value] * len(nowhere) for name, value in part.items()}
        write_part(folder / "activations" / name, columns, "made up")
        near = [
            {
                **part,
                "concept": concept,
                "anchor": anchor,
                "encoder": "text",
                "place": 0,
                "vector": vector,
                "anchor_distance": 0.5,
                "nearest": [anchor, *anchors][:NUM_NEIGHBOURS],
                "distance": [0.5] * NUM_NEIGHBOURS,
            }
            for concept, anchor, vector in product(concepts, anchors, range(VECTORS))
        ]
        write_part(
            folder / "neighbours" / name, {n: [row[n] for row in near] for n in near[0]}, "made up"
        )


def _sheets(folder: Path) -> None:
    """A sheet of activations for each dataset, model and delta: the same one, drawn once."""
    activations = read_study(folder).activations
    first, *others = [sheet_name(*key) for key, _ in activations.groupby(SHEET, observed=True)]
    drawn, _ = activation_figures(activations, folder / "figures", "made-up")[0]()
    assert drawn.stem == first
    for name in others:
        (folder / "figures" / f"{name}.png").hardlink_to(drawn)


def _opened(report: Path) -> None:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for switch in ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{switch}")
    browser = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        for width in (1280, 390):
            metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            browser.get(report.as_uri())
            drawn, loaded = browser.execute_script(READY)
            print(f"{width} px: can be used after {drawn:.2f} s, loaded after {loaded:.2f} s")
            if width > 1000:  # on a phone the charts are further down
                print(f"first chart after {browser.execute_async_script(CHARTS):.2f} s")
        for name in ("dataset", "concept", "source", "delta"):
            select = Select(browser.find_element(By.CSS_SELECTOR, f"#filters [name={name}]"))
            began = time.perf_counter()
            select.select_by_index(1)
            print(f"filter by {name}: {time.perf_counter() - began:.2f} s")
        began = time.perf_counter()
        browser.find_element(By.CSS_SELECTOR, "#words thead th:nth-child(7) button").click()
        print(f"sort: {time.perf_counter() - began:.2f} s")
        heap = browser.execute_script("return performance.memory.usedJSHeapSize")
        print(f"memory of its script: {heap / 1e6:.0f} MB")
    finally:
        browser.quit()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as place:
            main(Path(place) / "made-up")
