"""Figures 3 and 6 are drawn from results alone and say what they show and what they lack."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fabricated import MODELS, TWO_GENERATORS, study
from made_up import made_up_activations, make_up, rows_of
from vwtransfer import results
from vwtransfer.errors import UserError
from vwtransfer.report.figures import draw_results, figure_3, figure_6, matrix
from vwtransfer.report.figures.activations import activation_figures
from vwtransfer.report.figures.style import Shown
from vwtransfer.report.study_reader import read_study
from vwtransfer.results import Record
from vwtransfer.words.cells import Cell

BLUE, ORANGE, GREEN = (0, 114, 178), (230, 159, 0), (0, 158, 115)


def one_panel(frame: pd.DataFrame) -> pd.DataFrame:
    """The results in one model only, which are drawn in a fraction of the time."""
    return frame[frame["target_model"] == "tiny_sd"].reset_index(drop=True)


def said(png: Path) -> str:
    """What the figure says above and beneath its panels."""
    with Image.open(png) as image:
        return image.info["Description"]


def coloured(png: Path, colour: tuple[int, int, int]) -> int:
    """How many pixels have exactly this colour."""
    with Image.open(png) as image:
        return int((np.asarray(image.convert("RGB")) == colour).all(axis=2).sum())


@pytest.mark.parametrize("figure", [figure_3, figure_6])
def test_a_figure_is_a_png_and_a_pdf_that_name_study_transfer_and_words(
    figure: Callable[[Shown, Path], list[Path]], tmp_path: Path
) -> None:
    png, pdf = figure(Shown(study(deltas=[0.1, 1.0]), world="tiny"), tmp_path / "figure")
    assert (png.name, pdf.name) == ("figure.png", "figure.pdf")
    assert pdf.read_bytes().startswith(b"%PDF")
    words = 10 if figure is figure_3 else 3
    for text in ("demo", "tiny models", "tiny_shapes", "least_squares", f"n = {words} words"):
        assert text in said(png)
    for colour in (BLUE, ORANGE, GREEN):
        assert coloured(png, colour) > 100
    assert "missing" not in said(png)


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    once = figure_3(Shown(one_panel(study())), tmp_path / "once")
    again = figure_3(Shown(one_panel(study())), tmp_path / "again")
    assert [file.read_bytes() for file in once] == [file.read_bytes() for file in again]


def test_a_higher_mean_is_a_higher_bar(tmp_path: Path) -> None:
    frame = one_panel(study())
    own = (frame["source_model"] == "tiny_sd") & (frame["target_model"] == "tiny_sd")
    heights = []
    for level in (0.25, 0.5, 1.0):
        png, _ = figure_3(
            Shown(frame.assign(value=frame["value"].mask(own, level))), tmp_path / "figure"
        )
        heights.append(coloured(png, BLUE))
    assert heights[1] - heights[0] == pytest.approx((heights[2] - heights[1]) / 2, rel=0.1)


def test_results_of_a_run_are_drawn_as_they_are_read(tmp_path: Path) -> None:
    rows = [results.Record(**row) for row in one_panel(study(words=2)).to_dict("records")]
    results.write_part(tmp_path, rows, "all")
    for categorical in (False, True):
        png, _ = figure_3(
            Shown(results.read(tmp_path, categorical=categorical)), tmp_path / "figure"
        )
        assert "n = 2 words" in said(png)


def test_missing_and_failed_words_are_noted_on_the_figure(tmp_path: Path) -> None:
    frame = study()
    of_detector = frame["source_model"] == "tiny_owlv2"
    frame.loc[of_detector & (frame["concept"] == "concept_9"), "value"] = np.nan
    lost = [f"concept_{i}" for i in range(4)]
    frame = frame[~(of_detector & frame["concept"].isin(lost))]
    png, _ = figure_3(Shown(frame), tmp_path / "figure")
    assert "4 of 10 words of tiny_owlv2 missing (unconstrained)" in said(png)
    assert "1 of 10 words of tiny_owlv2 failed (unconstrained)" in said(png)
    assert "n = 5 to 10 words" in said(png)


def test_each_figure_misses_only_what_was_planned_for_it(tmp_path: Path) -> None:
    frame = one_panel(study(words=3, deltas=[0.5], words_at_deltas=2))
    planned = [
        Cell("tiny_shapes", model, f"concept_{i}", f"anchor_{i}", delta, 0)
        for model in MODELS
        for delta, words in ((math.inf, 4), (0.5, 3))
        for i in range(words)
    ]
    three, _ = figure_3(Shown(frame, planned=planned), tmp_path / "figure_3")
    six, _ = figure_6(Shown(frame, planned=planned), tmp_path / "figure_6")
    assert "1 of 4 words of tiny_sd missing (unconstrained)" in said(three)
    assert "delta" not in said(three)
    assert "1 of 3 words of tiny_sd missing (delta 0.5)" in said(six)


def test_a_model_or_direction_without_results_leaves_a_gap(tmp_path: Path) -> None:
    frame = one_panel(study(deltas=[0.0, 0.5]))
    failed = frame["source_model"] == "tiny_owlv2"
    whole, _ = figure_3(Shown(frame), tmp_path / "whole")
    gap, _ = figure_3(Shown(frame.assign(value=frame["value"].mask(failed))), tmp_path / "gap")
    assert coloured(gap, ORANGE) < coloured(whole, ORANGE)
    frame = frame[~((frame["source_model"] == "tiny_clip") & (frame["delta"] == 0.5))]
    png, _ = figure_6(Shown(frame), tmp_path / "figure_6")
    assert "3 of 3 words of tiny_clip missing (delta 0.5)" in said(png)


def test_what_is_half_done_is_pale_and_the_title_says_so(tmp_path: Path) -> None:
    frame = one_panel(study(words=4, deltas=[0.5], words_at_deltas=4))
    planned = [
        Cell("tiny_shapes", model, f"concept_{i}", f"anchor_{i}", delta, 0)
        for model in MODELS
        for delta in (math.inf, 0.5)
        for i in range(4)
    ]
    half = frame[~((frame["source_model"] == "tiny_sd") & (frame["concept"] == "concept_0"))]
    for figure, words in ((figure_3, 12), (figure_6, 24)):
        whole, _ = figure(Shown(frame, planned=planned), tmp_path / "whole")
        pale, _ = figure(Shown(half, planned=planned), tmp_path / "pale")
        assert "INCOMPLETE" not in said(whole)
        assert f"INCOMPLETE: {words // 12} of {words} words are missing" in said(pale)
        assert coloured(pale, BLUE) < coloured(whole, BLUE) / 2
        assert coloured(pale, ORANGE) > coloured(whole, ORANGE) / 2


def test_what_has_no_results_yet_keeps_its_place_and_others_their_colours(tmp_path: Path) -> None:
    frame = one_panel(study(words=2))
    planned = [
        Cell(dataset, model, f"concept_{i}", f"anchor_{i}", math.inf, 0)
        for dataset in ("tiny_shapes", "tiny_small")
        for model in MODELS
        for i in range(2)
    ]
    png, _ = figure_3(
        Shown(frame[frame["source_model"] != "tiny_sd"], planned=planned), tmp_path / "f"
    )
    assert "INCOMPLETE: 8 of 12 words are missing" in said(png)
    assert coloured(png, BLUE) < coloured(png, ORANGE)
    assert coloured(png, GREEN) > 100


def test_figure_6_compares_the_words_that_have_a_delta_with_themselves(tmp_path: Path) -> None:
    frame = one_panel(study(words=10, deltas=[0.5], words_at_deltas=3))
    few = frame[frame["concept"].isin([f"concept_{i}" for i in range(3)])]
    all_words, _ = figure_6(Shown(frame), tmp_path / "all")
    same_words, _ = figure_6(Shown(few), tmp_path / "few")
    assert all_words.read_bytes() == same_words.read_bytes()


def test_a_name_may_end_in_a_number(tmp_path: Path) -> None:
    written = {
        file.name
        for delta in ("0.1", "0.5")
        for file in figure_3(Shown(one_panel(study(words=2))), tmp_path / f"figure-{delta}-0")
    }
    assert written == {f"figure-{d}-0.{kind}" for d in ("0.1", "0.5") for kind in ("png", "pdf")}


def test_activations_of_words_that_share_no_label_are_drawn_without_curves(tmp_path: Path) -> None:
    columns = made_up_activations("tiny_shapes", [f"concept_{i}" for i in range(4)], ["zepu"])
    rows = pd.DataFrame(columns).assign(anchor=lambda rows: "from_" + rows["concept"])
    unshared = [name for name in rows if name.endswith(("_purity", "_silhouette"))]
    rows[unshared] = np.nan
    (draw,) = activation_figures(rows, tmp_path, "made-up")
    png, _ = draw()
    assert "n = 4 words in each row" in said(png)
    assert "No two words share an anchor or a concept" in said(png)


def test_several_datasets_share_a_figure(tmp_path: Path) -> None:
    frame = one_panel(study(["tiny_shapes", "tiny_small", "tiny_textures"], 3, [0.5]))
    for figure in (figure_3, figure_6):
        png, _ = figure(Shown(frame), tmp_path / "figure")
        assert "tiny_shapes, tiny_small, tiny_textures" in said(png)


def test_published_values_are_marked_beside_ours(tmp_path: Path) -> None:
    frame = one_panel(study(words=3, deltas=[0.5]))
    published = pd.DataFrame(
        {
            "dataset": "tiny_shapes",
            "metric": "generation_accuracy",
            "source_model": ["tiny_sd", "tiny_owlv2", "tiny_sd"],
            "target_model": "tiny_sd",
            "delta": [math.inf, math.inf, 0.5],
            "mean": [0.9, 0.2, 0.6],
            "ci_low": [0.8, 0.1, 0.5],
            "ci_high": [1.0, 0.3, 0.7],
        }
    )
    for figure in (figure_3, figure_6):
        plain, _ = figure(Shown(frame), tmp_path / "plain")
        marked, _ = figure(Shown(frame, published=published), tmp_path / "marked")
        assert plain.read_bytes() != marked.read_bytes()


def test_one_of_several_transfers_is_chosen(tmp_path: Path) -> None:
    ridge = study(transfer="ridge")
    frame = one_panel(pd.concat([study(), ridge[ridge["transfer"] == "ridge"]]))
    with pytest.raises(UserError, match="choose one of least_squares, ridge"):
        figure_3(Shown(frame), tmp_path / "figure")
    png, _ = figure_3(Shown(frame, transfer="ridge"), tmp_path / "figure")
    assert "transferred by ridge" in said(png)
    with pytest.raises(UserError, match="no transfer 'ride'; they hold least_squares, ridge"):
        figure_3(Shown(frame, transfer="ride"), tmp_path / "figure")


def test_a_study_without_words_for_a_figure_has_no_such_figure(tmp_path: Path) -> None:
    assert figure_6(Shown(study()), tmp_path / "figure") == []
    constrained = study(deltas=[0.5])
    assert figure_3(Shown(constrained[constrained["delta"] == 0.5]), tmp_path / "figure") == []
    assert list(tmp_path.iterdir()) == []


def test_figures_of_one_transfer_do_not_outlive_those_of_two(tmp_path: Path) -> None:
    config = make_up(tmp_path / "study", "concept=red_striped_star", "task=[detection]")
    draw_results(read_study(config.folder))
    assert (config.folder / "figures" / "figure_3.png").is_file()
    own = rows_of(config).query("target_model == 'tiny_owlv2' and kind == 'word'")
    rows = own.assign(
        target_model="tiny_sd", target_task="generation", metric="generation_accuracy"
    ).drop_duplicates(["concept", "anchor", "delta"])
    for method in ("least_squares", "ridge"):
        records = [Record(**row) for row in rows.assign(transfer=method).to_dict("records")]
        results.write_part(config.folder, records, method)
    results.finish(config.folder)
    draw_results(read_study(config.folder))
    names = {path.stem for path in (config.folder / "figures").glob("figure_3*")}
    assert names == {"figure_3-least_squares", "figure_3-ridge"}


def test_a_matrix_shows_every_direction_of_many_models(tmp_path: Path) -> None:
    models = {**MODELS, "tiny_sd_b": "generation"}
    frame = study(words=3, models=models)
    png, pdf = matrix(Shown(frame, transfer="least_squares", world="tiny"), tmp_path / "matrix")
    assert pdf.read_bytes().startswith(b"%PDF")
    assert "study demo; tiny models" in said(png)
    assert "transferred by least_squares" in said(png)
    lost = frame[(frame["source_model"] != "tiny_sd") | (frame["target_model"] != "tiny_owlv2")]
    other, _ = matrix(Shown(lost, transfer="least_squares"), tmp_path / "other")
    white, darkest = (255, 255, 255), (8, 48, 107)
    assert coloured(other, white) > coloured(png, white)
    there = (frame["source_model"] == "tiny_sd") & (frame["target_model"] == "tiny_owlv2")
    more = frame.assign(value=frame["value"].where(~there, 1.0))  # than words of tiny_owlv2 reach
    above, _ = matrix(Shown(more, transfer="least_squares"), tmp_path / "above")
    assert coloured(above, darkest) > coloured(png, darkest) + 1000


def test_two_models_of_one_task_stand_side_by_side(tmp_path: Path) -> None:
    frame = study(words=3, deltas=[0.5], models=TWO_GENERATORS)
    one = frame[frame["source_model"] != "tiny_sd_b"]
    planned = [
        Cell("tiny_shapes", model, f"concept_{i}", f"anchor_{i}", delta, 0)
        for model in TWO_GENERATORS
        for delta in (math.inf, 0.5)
        for i in range(3)
    ]
    for figure in (figure_3, figure_6):
        both, _ = figure(Shown(frame), tmp_path / "both")
        # colours are those of source models, by task and then by name
        assert all(coloured(both, colour) > 100 for colour in (BLUE, ORANGE, GREEN))
        half, _ = figure(Shown(one, planned=planned), tmp_path / "one")
        assert coloured(half, ORANGE) < coloured(both, ORANGE)
        assert coloured(half, GREEN) > 100
        assert "3 of 3 words of tiny_sd_b missing" in said(half)


def test_the_sheets_of_two_models_of_one_task_are_two(tmp_path: Path) -> None:
    concepts, anchors = [f"concept_{i}" for i in range(2)], ["zepu", "muli"]
    parts = [
        pd.DataFrame(made_up_activations("tiny_shapes", concepts, anchors, source=s, target=t))
        for s, t in (("tiny_sd", "tiny_sd"), ("tiny_sd", "tiny_sd_b"), ("tiny_sd_b", "tiny_sd_b"))
    ]
    rows = pd.concat([*parts, parts[2].assign(encoder="text_2", place=1)], ignore_index=True)
    rows["encoders"] = np.where(rows["target_model"] == "tiny_sd_b", 2, 1)
    todo = activation_figures(rows, tmp_path, "made-up", tasks=TWO_GENERATORS)
    first, second = (draw()[0] for draw in todo)
    assert first.stem == "activations-tiny_shapes-in-tiny_sd-inf-0"
    assert second.stem == "activations-tiny_shapes-in-tiny_sd_b-inf-0"
    assert "in the text encoder of tiny_sd (generation)" in said(first)
    assert "in the first text encoder (text) of tiny_sd_b (generation)" in said(second)
    assert "n = 4 words in each row" in said(second)
