"""The report says what a folder holds and what it lacks, needs nothing else, and never pretends."""

import base64
import gzip
import json
import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console

from composing import compose
from html_pages import Page, page_of, undrawn
from made_up import config_of, made_up_activations, make_up
from vwtransfer.actions.run import _write_report
from vwtransfer.analysis.part_files import write_part
from vwtransfer.errors import UserError
from vwtransfer.main import dispatch
from vwtransfer.report import write_report
from vwtransfer.report.data import data
from vwtransfer.report.page import page
from vwtransfer.report.study_reader import read_study
from vwtransfer.report.summary_text import other_world, summary_text
from vwtransfer.results.statistics import reached, retention

CONCEPTS = ["red_striped_star", "blue_dotted_heart"]
ANCHORS = ["zepu", "muli"]
MODELS = ["tiny_sd", "tiny_owlv2", "tiny_clip"]
SMALL = [f"concept=[{','.join(CONCEPTS)}]", f"anchor=[{','.join(ANCHORS)}]", "delta=[null,0.5]"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a made-up study with pictures and activations, and its report."""
    folder = tmp_path_factory.mktemp("outputs") / "made"
    make_up(folder, *SMALL, pictures=True)
    (folder / "provenance.json").write_text(json.dumps({"command": "vwtransfer name=made"}))
    write_part(
        folder / "activations" / "a.parquet",
        made_up_activations("tiny_shapes", CONCEPTS, ANCHORS),
        "made up",
    )
    write_report(folder)
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """The same folder, to be damaged; without pictures, which take time."""
    shutil.copytree(
        whole, tmp_path / "made", ignore=shutil.ignore_patterns("images", "report.html")
    )
    return tmp_path / "made"


def test_the_page_needs_nothing_but_itself(whole: Path) -> None:
    page = page_of(whole)
    assert page.links
    for link in page.links:
        inside = link.startswith(("data:", "#"))
        assert inside or (whole / link).is_file(), link
    packed = (whole / "report.html").read_text().partition('id="plotly">')[2].partition("<")[0]
    assert b"plotly.js (basic - minified) v" in gzip.decompress(base64.b64decode(packed))[:1000]


def test_it_opens_with_how_much_of_a_word_survives(whole: Path) -> None:
    page = page_of(whole)
    first = page.said.partition("Summary In-domain")[2].partition("Summary")[0]
    kept = retention(read_study(whole).frame, "least_squares")
    assert f"survives a transfer? {kept.overall} survives when least_squares" in first
    for each in kept.directions.values():
        assert str(each) in first
    assert "words of each model side by side" in first
    alone = undrawn(whole).images[0]
    assert alone["alt"] == "target: red striped star"


def test_a_study_without_transfers_opens_with_what_words_reach_in_their_own_model(
    tmp_path: Path,
) -> None:
    make_up(tmp_path / "own", *SMALL, "task=classification", "direction=none")
    frame = pd.read_parquet(tmp_path / "own" / "results.parquet")
    frame = frame[(frame["transfer"] == "none")]
    for path in (tmp_path / "own").rglob("*.parquet"):
        path.unlink()
    frame.to_parquet(tmp_path / "own" / "results.parquet")
    said = undrawn(tmp_path / "own").said
    assert "How well do words do? In its own model a word reaches" in said
    assert "action=figures makes them" in said


def test_pictures_are_small_unless_their_own_size_is_asked_for(whole: Path) -> None:
    name = "activations-made.png"
    shutil.copy(whole / "figures" / "figure_3.png", whole / "figures" / name)
    try:
        small, full = (undrawn(whole, full=full) for full in (False, True))
    finally:
        (whole / "figures" / name).unlink()
    assert f"figures/{name}" in small.links
    assert f"figures/{name}" not in full.links
    shown = [[str(image["src"]) for image in p.images if image.get("src")] for p in (small, full)]
    assert {src.partition(";")[0] for src in shown[0]} == {"data:image/webp"}
    own = base64.b64encode(next((whole / "images").rglob("*.png")).read_bytes()).decode()
    assert f"data:image/png;base64,{own}" in shown[1]
    assert sum(map(len, shown[0])) < sum(map(len, shown[1])) / 3


def test_every_picture_says_what_it_shows(whole: Path) -> None:
    pictures = [image for image in page_of(whole).images if image.get("src")]
    assert all(image["alt"] for image in pictures)
    said = Counter(image["alt"] for image in pictures if "Figure" not in str(image["alt"]))
    words = len(CONCEPTS) * len(ANCHORS)
    grids = len(MODELS) * 2  # of two deltas
    assert len(said) == words + len(CONCEPTS)
    # in the grids, and side by side, where a concept has one word
    assert said.total() == grids * words + (grids + grids + 2) * len(CONCEPTS)
    assert said["red striped star from zepu"] in (grids, 2 * grids)


def test_a_complete_study_has_no_banner(whole: Path) -> None:
    assert read_study(whole).remarks == []
    assert "incomplete" not in page_of(whole).ids


def test_the_numbers_on_the_page_are_the_results(whole: Path) -> None:
    page = page_of(whole)
    frame = pd.read_parquet(whole / "results.parquet")
    own = (frame["source_model"] == "tiny_owlv2") & (frame["target_model"] == "tiny_owlv2")
    chosen = frame[own & (frame["metric"] == "mean_average_precision") & (frame["delta"] == 0.5)]
    assert f"{chosen['value'].mean():.2f} [" in page.said
    words = data(read_study(whole))["words"]
    assert len(words["delta"]) == len(CONCEPTS) * len(ANCHORS) * (2 * len(MODELS) + 1) + 2


def test_the_summary_is_computed_with_the_one_retention(whole: Path) -> None:
    found = read_study(whole)
    lines = summary_text(found)
    words = len(CONCEPTS) * len(ANCHORS) * len(MODELS) * 2
    assert f"{words} words for 2 concepts of tiny_shapes" in lines[0]
    assert "trained in tiny_sd (generation), tiny_owlv2 (detection) and tiny_clip" in lines[0]
    kept = retention(found.frame, "least_squares")
    assert len(kept.directions) == 6
    assert any(f"words retain {kept.overall} of what" in line for line in lines)
    assert any(f"it is {kept.capped}." in line for line in lines)
    ranked = sorted(kept.directions.items(), key=lambda item: item[1].value)
    (worst, least), (best, most) = ranked[0], ranked[-1]
    (line,) = (line for line in lines if "best direction" in line)
    assert f"is {best[0]} to {best[1]}, which retains {most};" in line
    assert f"is {worst[0]} to {worst[1]}, which retains {least}." in line
    assert any("resample concepts, then their anchors" in line for line in lines)


def test_the_page_carries_the_same_retention(whole: Path) -> None:
    found = read_study(whole)
    said = page_of(whole).said
    rows = data(found)["retention"]
    for delta in (0.5, math.inf):
        kept = retention(found.frame, "least_squares", delta)
        for (source, target), each in kept.directions.items():
            (number,) = (
                i
                for i, source_code in enumerate(rows["source_model"]["codes"])
                if rows["source_model"]["names"][source_code] == source
                and rows["target_model"]["names"][rows["target_model"]["codes"][i]] == target
                and rows["dataset"]["names"][rows["dataset"]["codes"][i]] == ""
                and rows["delta"][i] == (None if math.isinf(delta) else delta)
            )
            wanted = None if math.isnan(each.value) else pytest.approx(each.value, abs=1e-4)
            assert rows["mean"][number] == wanted
            assert ("undefined" if wanted is None else str(each)) in said


def test_how_far_words_get_near_their_anchor_is_said_and_not_held_against_the_paper(
    whole: Path,
) -> None:
    found = read_study(whole)
    share = reached(found.frame, 0.5)
    assert any(f"unconstrained: {share} at delta 0.5." in line for line in summary_text(found))
    said = other_world(found)
    assert "The tiny models are another world than the paper's" in said
    assert "intervals resample single words" in said
    ratio = retention(found.frame, "least_squares", over_anchor=False, unit="word").overall
    of_words = reached(found.frame, 0.5, unit="word")
    assert said.endswith(f"here words keep {ratio} and words of delta 0.5 reach {of_words}.")


def test_a_study_of_the_papers_models_is_held_against_the_paper(tmp_path: Path) -> None:
    bear_and_cup = ("concept=[bear,cup]", "anchor=[bear,cup]", "delta=[null,0.5]")
    make_up(tmp_path / "made", "model=paper", "dataset=coco", *bear_and_cup)
    found = read_study(tmp_path / "made")
    lost = (found.frame["source_model"] == "owlv2_base") & (found.frame["concept"] == "cup")
    half = replace(found, frame=found.frame[~lost])
    said = Page(page(half, {})).said
    assert "of 18 intervals overlap" in said  # three models, three origins, two deltas
    assert "2 of 4" in said
    assert any(
        line.startswith("Of 18 values that the paper published") for line in summary_text(half)
    )
    assert other_world(half) == ""
    elsewhere = replace(found, frame=found.frame.assign(dataset="mine"))
    assert other_world(elsewhere).startswith("These models or datasets are another world")


def test_the_action_writes_the_report_of_a_name(copy: Path) -> None:
    dispatch(compose([f"outputs={copy.parent}", "name=made", "action=report"]))
    assert (copy / "report.html").is_file()


def test_a_name_without_results_is_refused(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(UserError, match=r"name=mode: there is no such experiment .* 'made'"):
        write_report(copy.with_name("mode"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no results yet"):
        write_report(tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []


def test_what_is_half_done_is_missing_in_the_banner(copy: Path) -> None:
    (part,) = (copy / "results").glob("*.parquet")
    table = pq.read_table(part)
    rows = table.to_pandas()
    lost = (rows["source_model"] == "tiny_owlv2") & (rows["concept"] == CONCEPTS[0])
    pq.write_table(table.filter(~lost.to_numpy()), part)
    (copy / "results.parquet").unlink()
    write_report(copy)
    lines = "2 of 4 words of tiny_owlv2 missing (unconstrained, delta 0.5)"
    page = page_of(copy)
    assert lines in page.said
    assert "incomplete" in page.ids
    assert any(lines in str(image["alt"]) for image in page.images)


def test_a_cut_off_file_is_named(copy: Path) -> None:
    whole_part = next((copy / "results").glob("*.parquet"))
    cut_off = whole_part.with_name("cut-off.parquet")
    cut_off.write_bytes(whole_part.read_bytes()[:1000])
    part = copy / "activations" / "b.parquet"
    part.write_bytes((copy / "activations" / "a.parquet").read_bytes()[:1000])
    (copy / "figures" / "activations-cut.png").write_bytes(b"\x89PNG")
    said = undrawn(copy, full=True).said
    assert "figures/activations-cut.png cannot be read" in said
    assert "cut-off.parquet" in said
    assert (
        "1 files cannot be read, or are of a former version, and are left out, such as b.parquet"
        in said
    )


def test_results_that_cannot_be_read_at_all_are_refused(copy: Path) -> None:
    for path in [*(copy / "results").glob("*.parquet"), copy / "results.parquet"]:
        path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="none of the results can be read"):
        write_report(copy)


def test_mixed_experiments_are_refused(copy: Path) -> None:
    path = next((copy / "results").glob("*.parquet"))
    table = pq.read_table(path).to_pandas().assign(experiment="another")
    table.to_parquet(copy / "results" / "another.parquet")
    with pytest.raises(UserError, match=r"mixes the results of 2 experiments \(another, made-up\)"):
        write_report(copy)


def test_results_that_lack_columns_are_refused(copy: Path) -> None:
    (copy / "results.parquet").unlink()
    path = next((copy / "results").glob("*.parquet"))
    pq.write_table(pq.read_table(path).drop_columns(["transfer"]), path)
    with pytest.raises(UserError, match="lacks the columns transfer"):
        write_report(copy)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "config.yaml is missing"),
        ("a: [", "config.yaml cannot be read"),
        (yaml.safe_dump({"model": {"name": "tiny"}}), "config.yaml says what this version cannot"),
    ],
)
def test_a_config_that_cannot_be_followed_is_said(
    copy: Path, content: str | None, line: str
) -> None:
    (copy / "config.yaml").unlink()
    if content is not None:
        (copy / "config.yaml").write_text(content)
    (copy / "provenance.json").write_text("{")
    said = undrawn(copy).said
    assert line in said
    assert "provenance.json cannot be read" in said


def test_failed_words_are_listed(copy: Path) -> None:
    failed = copy / "words/tiny_shapes/tiny_sd/red_striped_star/zepu-0.5-0.failed.json"
    failed.parent.mkdir(parents=True)
    failed.write_text(json.dumps({"step": 7, "reason": "the loss is nan"}))
    said = undrawn(copy).said
    assert "1 word failed in training" in said
    assert "the loss is nan" in said


def test_words_that_failed_are_listed_where_only_results_were_copied(copy: Path) -> None:
    (copy / "results.parquet").unlink()
    (part,) = (copy / "results").glob("*.parquet")
    rows = pq.read_table(part).to_pandas()
    failed = (rows["source_model"] == "tiny_owlv2") & (rows["concept"] == CONCEPTS[0])
    rows.loc[failed, "value"] = math.nan
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), part)
    said = undrawn(copy).said
    assert "4 words failed in training" in said
    assert "4 words failed." in said
    assert "time of training not recorded" in said


def test_what_action_figures_has_not_made_yet_is_said(whole: Path) -> None:
    said = page_of(whole).said
    assert (
        "Of the 24 words measured in tiny_owlv2 (detection), 0 are shown here" in said
    )  # no detections
    assert "measured in tiny_sd (generation), 0 are shown" in said  # no activations
    assert "Of the 24 words measured in tiny_sd (generation), 24" not in said
    own = "word~tiny_sd~none~tiny_sd/zepu-0.5-0-0.png"
    picture = whole / "images/tiny_shapes" / CONCEPTS[0] / own
    picture.rename(whole / "zepu.png")
    try:
        line = "Of the 24 words measured in tiny_sd (generation), 23 are shown here"
        assert line in undrawn(whole).said
    finally:
        (whole / "zepu.png").rename(picture)


def test_a_report_that_cannot_be_written_loses_no_run_and_is_said(copy: Path) -> None:
    (copy / "report.html").mkdir()
    complaint = _write_report(config_of(copy), Console(quiet=True))
    assert "the report could not be written" in complaint
    assert "a folder is in its place" in complaint
    again = f"vwtransfer name={copy.name} outputs={copy.parent} action=report"
    assert complaint.endswith(f"To try again: {again}")


def test_where_nothing_is_measured_or_shown_nothing_is_lacking(tmp_path: Path) -> None:
    make_up(tmp_path / "made", *SMALL)
    found = read_study(tmp_path / "made")
    pictures = found.pictures["images"]
    assert "0 are shown here" in found.lacking(pictures, "tiny_sd")
    alone = found.frame[found.frame["target_model"] == "tiny_clip"]
    assert replace(found, frame=alone).lacking(pictures, "tiny_sd") == ""
