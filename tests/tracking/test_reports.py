"""What wandb is told of a study: which runs, names and values, and the view that reads them."""

import base64
import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pandas as pd
import pytest
import wandb
from lab import laboratory
from PIL import Image
from servers import refusing
from wandb_workspaces.workspaces import Workspace, internal

from composing import compose
from offline import SMALL, Recorded, recorded
from vwtransfer.actions.run import run as run_study
from vwtransfer.cluster import worker
from vwtransfer.config import Config
from vwtransfer.errors import UserError
from vwtransfer.study import data_loading
from vwtransfer.tracking import names
from vwtransfer.tracking.dashboard import dashboard, make
from vwtransfer.words.cells import cells
from vwtransfer.words.store import WordStore

MODELS = ("tiny_sd", "tiny_owlv2", "tiny_clip")
CONCEPTS = "concept=[red_striped_star,blue_dotted_heart]"


def test_the_run_says_what_it_is_of(run: Recorded, config: Config) -> None:
    assert run.run["run_group"] == "study"
    assert run.run["job_type"] == "study"
    assert run.run["project"] == "vwtransfer"
    assert run.run["tags"] == ["tiny_shapes", "red_striped_star"]
    assert run.config["trainer"]["num_vectors"] == config.trainer.num_vectors
    assert run.config["words"] == [cell.key for cell in cells(config)]
    assert run.exit_code == 0


@pytest.mark.parametrize("model", MODELS)
def test_training_is_told_as_mean_and_spread_of_the_words(
    run: Recorded, config: Config, model: str
) -> None:
    steps = config.model.models[model]["training"]["steps"]
    assert run.values(f"tiny_shapes/{model}/step") == list(range(1, steps + 1))
    words = [f"words/{cell.key}" for cell in cells(config) if cell.model == model]
    assert len(words) == 2
    for quantity in ("loss", "anchor_distance", "projection_distance"):
        single = list(zip(*(run.values(f"{name}/{quantity}") for name in words), strict=True))
        means = run.values(f"tiny_shapes/{model}/{quantity}_mean")
        spreads = run.values(f"tiny_shapes/{model}/{quantity}_std")
        assert len(single) == len(means) == steps
        assert means == pytest.approx([fmean(values) for values in single], abs=1e-6)
        assert spreads == pytest.approx([pstdev(values) for values in single], abs=1e-6)


def test_only_words_in_a_ball_are_projected_and_stay_within(run: Recorded, config: Config) -> None:
    free, within = [f"words/{c.key}/" for c in reversed(cells(config)) if c.model == "tiny_owlv2"]
    assert ("inf" in free) and ("0.02" in within)
    assert set(run.values(f"{free}projection_distance")) == {0}
    assert max(run.values(f"{within}anchor_distance")) < max(run.values(f"{free}anchor_distance"))


def test_progress_ends_with_all_words_trained_and_rows_measured(
    run: Recorded, config: Config
) -> None:
    assert run.values("progress/words")[-1] == run.values("progress/trained")[-1] == 6
    of_words, of_baselines = 6 * 3, 4 * 3 - 1  # in three models; a detector knows no chance
    assert run.values("progress/measured")[-1] == of_words + of_baselines
    assert run.values("progress/failed")[-1] == 0


def test_the_table_holds_every_row_of_the_results(run: Recorded, config: Config) -> None:
    table = run.table("rows")
    found = pd.DataFrame(table["data"], columns=table["columns"])
    frame = pd.read_parquet(config.folder / "results.parquet")
    frame = frame[found.columns]
    assert len(found) == len(frame)
    by = ["source_model", "transfer", "target_model", "metric"]
    of_words = found[found.kind == "word"]
    assert len(of_words.drop_duplicates(by)) < len(of_words)  # a row for each word
    expected = frame[frame.kind == "word"].sort_values([*by, "delta"])
    values = of_words.fillna({"delta": math.inf}).sort_values([*by, "delta"]).value
    assert list(values) == list(expected.value)


def test_means_are_in_the_summary_by_kind_and_curves_go_over_delta(
    run: Recorded, config: Config
) -> None:
    frame = pd.read_parquet(config.folder / "results.parquet")
    own = frame[(frame.source_model == "tiny_owlv2") & (frame.target_model == "tiny_owlv2")]
    own = own[own.metric == "mean_average_precision"].set_index("delta").value
    pair = "tiny_shapes/tiny_owlv2_on_tiny_owlv2/mean_average_precision"
    summary: dict[str, float] = {}
    for record in run.of("summary"):
        summary |= record.get("update", {})
    assert summary[f"in_domain/{pair}/delta_inf"] == pytest.approx(own[math.inf])
    kinds: dict[str, set[str]] = {}
    for kind, _, of, *_ in (name.split("/") for name in summary if name.endswith("/delta_inf")):
        kinds.setdefault(kind, set()).add(of)
    pairs = {f"{source}_on_{target}" for source in MODELS for target in MODELS}
    own_models = {f"{model}_on_{model}" for model in MODELS}
    assert kinds.pop("baselines") >= {
        f"{baseline}_on_{model}" for baseline in ("anchor", "name", "random") for model in MODELS
    }
    assert kinds == {"in_domain": own_models, "transferred": pairs - own_models}
    curve = [item for item in run.history if f"by_delta/{pair}" in item]
    assert [(c["by_delta/delta"], c[f"by_delta/{pair}"]) for c in curve] == [(0.02, own[0.02])]


def test_generations_are_shown(run: Recorded) -> None:
    for source in (*MODELS, "name", "anchor", "random"):
        name = f"images/tiny_shapes/{source}_on_tiny_sd"
        found = run.pictures(name)
        assert len(found) == (2 if source in MODELS else 1)
        assert all(Image.open(path).size == (32, 32) for path in found)
        (captions,) = run.values(f"{name}.captions")
        assert all("red_striped_star" in caption for caption in captions)


def test_detections_are_shown_with_boxes(run: Recorded, config: Config) -> None:
    name = "images/tiny_shapes/name_on_tiny_owlv2"
    (path,) = run.pictures(name)
    assert Image.open(path).size == (64, 64)
    (((boxes,)),) = run.values(f"{name}.all_boxes")
    kinds = {
        kind: json.loads((run.path.parent / "files" / boxes[kind]["path"]).read_text())["box_data"]
        for kind in ("found", "annotated")
    }
    assert all("score" in box["scores"] for box in kinds["found"])
    (annotated,) = kinds["annotated"]
    (example,) = data_loading.opened(config)["tiny_shapes"].held_out("red_striped_star")
    (box,) = example.boxes
    assert tuple(annotated["position"][key] for key in ("minX", "minY", "maxX", "maxY")) == box


def test_the_words_are_an_artifact(run: Recorded, config: Config) -> None:
    (artifact,) = [a for a in run.of("artifact") if a["type"] == "words"]
    contents = {e["path"]: e["digest"] for e in artifact["manifest"]["contents"]}
    assert set(contents) == {f"{cell.key}.safetensors" for cell in cells(config)}
    for name, digest in contents.items():
        file = (config.folder / "words" / name).read_bytes()
        assert digest == base64.b64encode(hashlib.md5(file).digest()).decode()


def test_a_shard_is_a_run_of_its_model_and_tells_of_its_failures(tmp_path: Path) -> None:
    diverging = "model.classification.training.learning_rate=1e30"
    keys = [*SMALL, CONCEPTS, "task=classification", "direction=none", diverging]
    config = compose([*keys, f"outputs={tmp_path}"])
    worker.work(config)
    store = WordStore(config.folder / "words")
    first, second = sorted(recorded(config.folder), key=lambda each: str(each.run["tags"]))
    for found, concept in ((first, "blue_dotted_heart"), (second, "red_striped_star")):
        assert found.run["job_type"] == "tiny_clip"
        assert found.run["run_group"] == "study"
        assert found.run["tags"] == ["tiny_shapes", concept]
        assert found.run["display_name"] == f"study/tiny_shapes/tiny_clip/{concept}"
        own = [cell for cell in cells(config) if cell.concept == concept]
        failures = [failure for cell in own if (failure := store.failure(cell))]
        assert failures
        assert found.values("progress/failed")[-1] == len(failures)
        rows = {row[0]: row[1] for row in found.table("failures")["data"]}
        assert rows == {failure.cell.key: failure.step for failure in failures}
    assert first.run["run_id"] != second.run["run_id"]


def test_each_word_can_be_a_run(tmp_path: Path) -> None:
    keys = [*SMALL, "concept=red_striped_star", "task=classification", "direction=none"]
    config = compose([*keys, "wandb.granularity=word", f"outputs={tmp_path}"])
    run_study(config)
    runs = recorded(config.folder)
    assert sorted(found.run["display_name"] for found in runs) == sorted(
        cell.key for cell in cells(config)
    )
    for found in runs:
        assert len(found.values("tiny_shapes/tiny_clip/loss")) == 12
        assert {row[3] for row in found.table("rows")["data"]} == {"zepu"}


# the view of all runs of a study


@pytest.fixture
def unknown() -> Iterator[None]:
    """wandb reads who one is once for a process."""
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def view(
    unknown: None,
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> dict[str, Any]:
    """The dashboard as it was sent to a server."""
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with laboratory() as lab:
        monkeypatch.setenv("WANDB_BASE_URL", lab.address)
        make(config)
        assert f"{lab.address}/my-lab/vwtransfer?nw=" in capsys.readouterr().out
    (sent,) = lab.views
    assert (sent["entityName"], sent["projectName"]) == ("my-lab", "vwtransfer")
    spec: dict[str, Any] = json.loads(sent["spec"])
    return spec


def test_the_dashboard_reads_what_runs_log(
    run: Recorded, config: Config, view: dict[str, Any]
) -> None:
    assert from_a_server(view) == view
    (shown,) = view["section"]["runSets"]
    (chosen,) = shown["filters"]["filters"]
    assert (chosen["key"]["name"], chosen["value"]) == ("group", run.run["run_group"])
    wanted: dict[str, set[str]] = {}
    for section in view["section"]["panelBankConfig"]["sections"]:
        of_section = wanted.setdefault(section["name"], set())
        for panel in section["panels"]:
            of_section.update(read_by(panel))
    assert wanted.pop("Every word, transfer and metric") == {names.ROWS}
    assert names.FAILURES in wanted["Progress and failures"]  # logged where there are any
    assert all(len(found) > 2 for found in wanted.values())
    logged = {name.removesuffix("._type") for item in run.history for name in item}
    for record in run.of("summary"):
        logged.update(record.get("update", {}))
    assert len(wanted) == 5
    assert set().union({names.ROWS}, *wanted.values()) - {names.FAILURES} <= logged


def read_by(panel: dict[str, Any]) -> list[str]:
    """The names that a panel reads."""
    drawn = panel["config"]
    if panel["viewType"] == "Weave":  # a table
        return [drawn["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"]]
    return [*(drawn.get("metrics") or drawn["mediaKeys"]), *filter(None, [drawn.get("xAxis")])]


def from_a_server(spec: dict[str, Any]) -> dict[str, Any]:
    """What the library makes of a dashboard that it is sent back."""
    view = internal.View(
        entity="my-lab",
        project="vwtransfer",
        display_name="study",
        name="nw-x",
        id="1",
        spec=internal.WorkspaceViewspec.model_validate(spec),
    )
    found = Workspace._from_model(view)._to_model().spec
    again: dict[str, Any] = found.model_dump(mode="json", by_alias=True, exclude_none=True)
    return again


def test_a_study_of_balls_alone_is_shown_in_its_widest() -> None:
    view = dashboard(compose(["experiment=tiny_section5"]), "somebody")._to_model()
    sections = view.model_dump(by_alias=True)["spec"]["section"]["panelBankConfig"]["sections"]
    bars = [p["config"] for p in sections[1]["panels"]]
    assert len(bars) == 4 * 4  # datasets, headline metrics
    assert all(name.endswith("/delta_1.0") for bar in bars for name in bar["metrics"])


def test_a_dashboard_without_a_key_is_refused_in_a_line(
    unknown: None, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_MODE")
    with pytest.raises(UserError, match="there is no API key"):
        make(config)


def test_a_dashboard_without_a_server_is_refused_in_a_line_and_seconds(
    unknown: None, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with refusing() as address:
        monkeypatch.setenv("WANDB_BASE_URL", address)
        with pytest.raises(UserError, match=f"{address} does not answer"):
            make(config)
