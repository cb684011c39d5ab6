"""action=dashboard: a view of a study's runs in wandb, made anew by one command.

Its panels read the names that runs log (`tracking.names`), over all runs of the study together.
"""

from collections.abc import Sequence
from typing import Any

import torch
import wandb

from vwtransfer.config import Config
from vwtransfer.errors import UserError
from vwtransfer.models.suite import build
from vwtransfer.results.summary import HEADLINES, delta_name
from vwtransfer.tasks.registry import tasks_of
from vwtransfer.tracking import names
from vwtransfer.tracking.server import one_line, reached

try:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
except ImportError as missing:
    raise UserError(
        "action=dashboard needs wandb-workspaces: pip install -e '.[dashboard]' in the clone"
    ) from missing

UNCONSTRAINED = float("inf")
PICTURED = ("generation", "detection")  # tasks whose measurements can be looked at


def make(config: Config) -> None:
    """Saves the view, and prints its address.

    Raises:
        UserError: there is no API key, or the server refuses.
    """
    reached("dashboard")
    try:
        saved = dashboard(config, config.wandb.entity or wandb.Api().default_entity).save()
    except Exception as error:
        why = f"wandb's server does not take it ({one_line(error)})"
        raise UserError(f"action=dashboard: {why}") from error
    print(saved.url)


def dashboard(config: Config, entity: str) -> ws.Workspace:
    """The view of the study's runs: a definition, of which no server knows yet."""
    suite = build(config, torch.device("cpu"))
    tasks, models = tasks_of(config, suite), suite.models
    both = [(dataset.name, model) for dataset in config.dataset.values() for model in models]
    headlines = {name: _headlines(tasks[model.task].metrics) for name, model in models.items()}
    bars = [_bars(config, d, m, metric) for d, m in both for metric in headlines[m]]
    curves = [_curves(config, d, m, metric) for d, m in both for metric in headlines[m]]
    wide = ws.SectionLayoutSettings(columns=1, rows=1)
    return ws.Workspace(
        entity=entity,
        project=config.wandb.project,
        name=config.name,
        sections=[
            ws.Section("Progress and failures", _progress(), is_open=True),
            ws.Section("In-domain against transferred", [*filter(None, bars)], is_open=True),
            ws.Section("Performance against delta", [*filter(None, curves)], is_open=True),
            ws.Section(
                "Every word, transfer and metric", [_table(names.ROWS)], layout_settings=wide
            ),
            ws.Section("Training", [_loss(d, m) for d, m in both if m in config.trained]),
            ws.Section(
                "Galleries",
                [
                    _gallery(d, s, m)
                    for d, m in both
                    if models[m].task in PICTURED
                    for s in _sources(config, m)
                ],
            ),
        ],
        runset_settings=ws.RunsetSettings(filters=ws.And(ws.Metric("Group") == config.name)),
    )


def _progress() -> list[Any]:
    told = {names.WORDS: "words", names.TRAINED: "trained", names.FAILED: "failed"}
    charts = [wr.ScalarChart(title=t, metric=m, groupby_aggfunc="sum") for m, t in told.items()]
    return [*charts, _table(names.FAILURES)]


def _table(name: str) -> Any:
    """A table of all runs together."""
    return wr.WeavePanelSummaryTable(table_name=name)


def _bars(config: Config, dataset: str, model: str, metric: str) -> Any:
    """The least constrained words of all models, measured in this one."""
    widest = max(_deltas(config))
    title = f"{dataset}, in {model}: {HEADLINES.get(metric, metric)} ({delta_name(widest)})"
    read = [names.result(dataset, s, model, metric, widest) for s in _sources(config, model)]
    return read and wr.BarPlot(
        title=title, metrics=read, groupby=wr.Metric("Group"), groupby_aggfunc="mean"
    )


def _curves(config: Config, dataset: str, model: str, metric: str) -> Any:
    """Words of all models in balls of every radius, measured in this one."""
    read = [names.by_delta(dataset, s, model, metric) for s in _sources(config, model)]
    title = f"{dataset}, in {model}: {HEADLINES.get(metric, metric)}"
    return read and _deltas(config) - {UNCONSTRAINED} and _lines(title, names.DELTA, read, "stderr")


def _loss(dataset: str, model: str) -> Any:
    read = [names.training(dataset, model, names.LOSS, "mean")]
    return _lines(f"{dataset}, {model}: loss", names.step(dataset, model), read, "minmax")


def _lines(title: str, x: str, y: list[str], spread: str) -> Any:
    """Means over the runs of the study, and their spread."""
    return wr.LinePlot(
        title=title,
        x=x,
        y=y,
        groupby=wr.Metric("Group"),
        groupby_aggfunc="mean",
        groupby_rangefunc=spread,
    )


def _gallery(dataset: str, source: str, model: str) -> Any:
    return wr.MediaBrowser(
        title=f"{dataset}: {source} in {model}",
        media_keys=[names.images(dataset, source, model)],
        num_columns=4,
    )


def _sources(config: Config, target: str) -> list[str]:
    """Models whose words are measured in `target`, itself first."""
    own = [target] if target in config.trained else []
    return own + [s for s, t in config.direction if t == target]


def _headlines(metrics: Sequence[str]) -> list[str]:
    return [metric for metric in HEADLINES if metric in metrics] or list(metrics[:1])


def _deltas(config: Config) -> set[float]:
    return {delta for words in config.products for delta in words.deltas}
