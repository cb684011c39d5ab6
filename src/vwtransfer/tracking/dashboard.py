"""action=dashboard: a view of a study's runs in wandb, made anew by one command.

Its panels read the names that runs log (`tracking.names`), over all runs of the study together.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from vwtransfer.config import Config
from vwtransfer.errors import UserError
from vwtransfer.models.suite import build
from vwtransfer.results.summary import HEADLINES, delta_name
from vwtransfer.tasks import Task
from vwtransfer.tracking import names
from vwtransfer.tracking.server import reached

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section, Workspace

UNCONSTRAINED = float("inf")
PICTURED = ("generation", "detection")  # tasks whose measurements can be looked at


def make(config: Config) -> None:
    """Saves the view, and prints its address.

    Raises:
        UserError: the extra is not installed, there is no API key, or the server refuses.
    """
    try:
        import wandb
        import wandb_workspaces.workspaces as _  # noqa: F401  is it there?
    except ImportError as error:
        raise UserError(
            "action=dashboard needs wandb-workspaces: pip install -e '.[dashboard]' in the clone"
        ) from error
    try:
        reached("dashboard")
        entity = config.wandb.entity or wandb.Api().default_entity
        saved = dashboard(config, entity).save()
    except UserError:
        raise
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"action=dashboard: wandb's server does not take it ({why})") from error
    print(saved.url)


def dashboard(config: Config, entity: str) -> "Workspace":
    """The view of the study's runs: a definition, of which no server knows yet."""
    import wandb_workspaces.workspaces as ws

    return ws.Workspace(
        entity=entity,
        project=config.wandb.project,
        name=config.name,
        sections=list(_sections(config)),
        runset_settings=ws.RunsetSettings(filters=ws.And(ws.Metric("Group") == config.name)),
    )


def _sections(config: Config) -> Iterator["Section"]:
    import wandb_workspaces.workspaces as ws

    tasks = build(config, torch.device("cpu")).tasks
    datasets = [dataset.name for dataset in config.dataset.values()]
    yield ws.Section("Progress and failures", list(_progress()), is_open=True)
    yield ws.Section(
        "In-domain against transferred",
        [panel for d in datasets for t in tasks.values() for panel in _bars(config, d, t)],
        is_open=True,
    )
    yield ws.Section(
        "Performance against delta",
        [panel for d in datasets for t in tasks.values() for panel in _curves(config, d, t)],
        is_open=True,
    )
    yield ws.Section(
        "Every word, transfer and metric",
        [_table(names.ROWS)],
        layout_settings=ws.SectionLayoutSettings(columns=1, rows=1),
    )
    yield ws.Section("Training", [_loss(d, t) for d in datasets for t in config.task])
    yield ws.Section(
        "Galleries",
        [_gallery(d, s, t) for d in datasets for t in PICTURED for s in _sources(config, t)],
    )


def _progress() -> Iterator[Any]:
    import wandb_workspaces.reports.v2 as wr

    told = {names.WORDS: "words", names.TRAINED: "trained", names.FAILED: "failed"}
    for metric, title in told.items():
        yield wr.ScalarChart(title=title, metric=metric, groupby_aggfunc="sum")
    yield _table(names.FAILURES)


def _table(name: str) -> Any:
    """A table of all runs together."""
    import wandb_workspaces.reports.v2 as wr

    return wr.WeavePanelSummaryTable(table_name=name)


def _bars(config: Config, dataset: str, task: Task) -> Iterator[Any]:
    """The least constrained words of all tasks, measured in this one."""
    import wandb_workspaces.reports.v2 as wr

    widest = max(_deltas(config))
    for metric in _headlines(task):
        sources = _sources(config, task.name)
        if sources:
            measure = HEADLINES.get(metric, metric)
            yield wr.BarPlot(
                title=f"{dataset}, in {task.name}: {measure} ({delta_name(widest)})",
                metrics=[names.result(dataset, s, task.name, metric, widest) for s in sources],
                groupby=wr.Metric("Group"),
                groupby_aggfunc="mean",
            )


def _curves(config: Config, dataset: str, task: Task) -> Iterator[Any]:
    """Words of all tasks in balls of every radius, measured in this one."""
    import wandb_workspaces.reports.v2 as wr

    for metric in _headlines(task):
        sources = _sources(config, task.name)
        if sources and _deltas(config) - {UNCONSTRAINED}:
            yield wr.LinePlot(
                title=f"{dataset}, in {task.name}: {HEADLINES.get(metric, metric)}",
                x=names.DELTA,
                y=[names.by_delta(dataset, source, task.name, metric) for source in sources],
                groupby=wr.Metric("Group"),
                groupby_aggfunc="mean",
                groupby_rangefunc="stderr",
            )


def _loss(dataset: str, task: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(
        title=f"{dataset}, {task}: loss",
        x=names.step(dataset, task),
        y=[names.training(dataset, task, names.LOSS, "mean")],
        groupby=wr.Metric("Group"),
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
    )


def _gallery(dataset: str, source: str, task: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.MediaBrowser(
        title=f"{dataset}: {source} in {task}",
        media_keys=[names.images(dataset, source, task)],
        num_columns=4,
    )


def _sources(config: Config, target: str) -> list[str]:
    """Tasks whose words are measured in `target`, itself first."""
    own = [target] if target in config.task else []
    return own + [s for s, t in config.direction if t == target and s in config.task]


def _headlines(task: Task) -> list[str]:
    return [metric for metric in HEADLINES if metric in task.metrics] or list(task.metrics[:1])


def _deltas(config: Config) -> set[float]:
    return {delta for words in config.products for delta in words.deltas}
