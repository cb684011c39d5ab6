"""The view of a study's runs: what is sent to wandb's server, and what it reads of the runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from lab import laboratory
from servers import refusing
from wandb_workspaces.workspaces import Workspace, internal

from offline import Recorded
from vwtransfer.config import Config
from vwtransfer.config.composition import compose
from vwtransfer.errors import UserError
from vwtransfer.tracking import names
from vwtransfer.tracking.dashboard import dashboard, make


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
