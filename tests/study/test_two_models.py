"""Two models of one task in one study: each has its own words, and neither depends on the other."""

import re
import shutil
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from composing import compose
from vwtransfer import results
from vwtransfer.actions.run import run as run_study
from vwtransfer.config import Config
from vwtransfer.config.origin import commit, this_process
from vwtransfer.errors import UserError
from vwtransfer.report.provenance import provenance
from vwtransfer.report.study_reader import read_study
from vwtransfer.results.schema import IDENTITY
from vwtransfer.study.fingerprints import Fingerprints
from vwtransfer.tasks.classification import Classification
from vwtransfer.tasks.detection import Detection
from vwtransfer.words.cells import cells
from vwtransfer.words.store import WordStore

OTHER = """\
# @package model.other
defaults: [tiny_clip@_here_]
name: other
"""
TRAINED = ("tiny_clip", "other")
METRICS = {
    "tiny_clip": Classification.metrics,
    "other": Classification.metrics,
    "tiny_owlv2": Detection.metrics,
}
CONCEPTS = ("red_striped_star", "blue_dotted_heart")
SMALL = [
    "~model/generation",
    "dataset=tiny_shapes",
    "dataset.tiny_shapes.held_out_images=2",
    f"concept=[{','.join(CONCEPTS)}]",
    "anchor=paired",
    "task=classification",
    "direction=all",
    "model.classification.training.steps=20",
    "model.classification.training.learning_rate=0.03",
    "device=cpu",
    "threads=1",
    "progress=false",
    "report=false",
]


def configured(conf: Path, outputs: Path, classifiers: str = "[tiny,other]") -> Config:
    """The study, with a classifier from a person's own folder of configs."""
    chosen = [f"model/classification={classifiers}", f"outputs={outputs}"]
    return compose([*SMALL, *chosen], conf)


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conf")
    path = folder / "model" / "classification" / "other.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(OTHER)
    return folder


@pytest.fixture(scope="module")
def finished(conf: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The study, done; tests that go on with it take a copy."""
    config = configured(conf, tmp_path_factory.mktemp("outputs"))
    run_study(config)
    return config


@pytest.fixture(scope="module")
def frame(finished: Config) -> pd.DataFrame:
    return pd.read_parquet(finished.folder / "results.parquet")


@pytest.fixture
def copy(finished: Config, tmp_path: Path) -> Path:
    """A folder of outputs with the study in it."""
    shutil.copytree(finished.folder, tmp_path / finished.folder.name)
    return tmp_path


def files(folder: Path) -> dict[Path, int]:
    """Words and rows, with the time at which each was written."""
    paths = [*folder.rglob("words/**/*.safetensors"), *folder.glob("results/*.parquet")]
    return {path: path.stat().st_mtime_ns for path in paths}


def test_every_direction_has_its_rows_and_no_word_or_row_takes_anothers_place(
    finished: Config, frame: pd.DataFrame
) -> None:
    words = frame[frame.kind == "word"]
    for source in TRAINED:
        for target, metrics in METRICS.items():
            rows = words[(words.source_model == source) & (words.target_model == target)]
            assert sorted(zip(rows.concept, rows.metric, strict=True)) == sorted(
                (concept, metric) for concept in CONCEPTS for metric in metrics
            )
            assert set(rows.transfer) == {"none" if source == target else "least_squares"}
            assert rows.value.between(0, 1).all()
    assert len(words) == sum(len(TRAINED) * len(CONCEPTS) * len(m) for m in METRICS.values())
    for kind in ("anchor", "name", "random"):
        assert set(frame[frame.kind == kind].target_model) == set(METRICS)
    parts = [pd.read_parquet(path) for path in (finished.folder / "results").glob("*.parquet")]
    assert sum(map(len, parts)) == len(frame) == len(frame.drop_duplicates(IDENTITY))
    paths = [path.parts[-3:-1] for path in files(finished.folder) if path.suffix != ".parquet"]
    assert sorted(paths) == sorted((model, concept) for model in TRAINED for concept in CONCEPTS)


def test_a_models_name_decides_no_bit_of_its_words_and_no_value(
    finished: Config, frame: pd.DataFrame
) -> None:
    store = WordStore(finished.folder / "words")
    for cell in cells(finished):
        word, same = store.load(cell), store.load(replace(cell, model="other"))
        assert torch.equal(word.vectors_KD, same.vectors_KD)
        assert (word.fingerprint, word.table) == (same.fingerprint, same.table)
    words = frame[frame.kind == "word"]
    swapped = dict(zip(TRAINED, reversed(TRAINED), strict=True))
    renamed = words.replace({"source_model": swapped, "target_model": swapped})
    keys = ["source_model", "target_model", "concept", "metric"]
    values, same_values = (each.set_index(keys).value.sort_index() for each in (words, renamed))
    pd.testing.assert_series_equal(values, same_values)


def test_words_and_rows_say_where_they_were_made(finished: Config, frame: pd.DataFrame) -> None:
    made = this_process("cpu")
    assert made.host and made.versions
    for name, value in asdict(made).items():
        assert set(frame[name]) == {value}
    assert all(map(pd.Timestamp, frame.written_at))
    mapped = frame.transfer != "none"
    assert set(frame[~mapped].support) == {""}
    assert set(frame[mapped].support) == {"320 tokens"}
    store = WordStore(finished.folder / "words")
    assert all(store.load(cell).made == made for cell in cells(finished))


def test_the_summary_shows_both(finished: Config) -> None:
    summary = (finished.folder / "summary.txt").read_text()
    lines = [line.split() for line in summary.splitlines()]
    heads = Counter(name for line in lines if set(line) <= set(METRICS) for name in line)
    assert heads == {"tiny_owlv2": 1, "other": 2, "tiny_clip": 2}
    for model in TRAINED:
        row = rf"^ *{model}(?: \(classification\))? +\d.* {len(CONCEPTS)} *$"
        assert len(re.findall(row, summary, re.MULTILINE)) == 2  # four columns each


def test_the_report_says_which_commit_made_it(finished: Config) -> None:
    facts = provenance(read_study(finished.folder))["facts"]
    assert facts["commit"] == (commit().replace("+", " (with changes)") or "not recorded")


def test_without_the_other_model_nothing_is_trained_or_measured_anew(
    conf: Path, copy: Path, finished: Config
) -> None:
    alone = configured(conf, copy, classifiers="tiny")
    before = files(alone.folder)
    run_study(alone)
    assert files(alone.folder) == before
    assert len(cells(alone)) == len(CONCEPTS)
    for cell in cells(alone):
        assert Fingerprints(alone)(cell) == Fingerprints(finished)(cell)


@pytest.mark.parametrize("target", ["other", "tiny_owlv2"])
def test_a_word_of_another_embedding_table_is_measured_in_no_model(
    conf: Path, copy: Path, target: str
) -> None:
    config = configured(conf, copy)
    store = WordStore(config.folder / "words")
    for cell in (cell for cell in cells(config) if cell.model == "other"):
        word = store.load(cell)
        store.path(cell).unlink()
        store.save(replace(word, table="another"))
    for part in (config.folder / "results").glob(f"tiny_shapes-other-on-{target}-*"):
        part.unlink()
    (config.folder / "results.parquet").unlink()
    with pytest.raises(UserError, match=r"embedding table another, and that of model\.other is"):
        run_study(config)
    frame = results.read(config.folder)
    assert not ((frame.source_model == "other") & (frame.target_model == target)).any()
