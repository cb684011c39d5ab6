"""The datasets of a study: opened, held to the same images, and what each can be used for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from vwtransfer.config import Config
from vwtransfer.datasets import Dataset, notes_of
from vwtransfer.datasets.manifest import Manifest, read_manifest, write_manifest
from vwtransfer.datasets.photos import ImageFileDataset
from vwtransfer.errors import UserError
from vwtransfer.models import Model
from vwtransfer.models.suite import build_part
from vwtransfer.tasks import Task, measurable

MOST_SHOWN = 10  # files


def opened(config: Config) -> dict[str, Dataset]:
    """Every dataset of the study.

    The choice of images is kept as manifests/<dataset>.json in the study's folder, and is what a
    later run goes on with, whatever has been added to the photos since.

    Raises:
        UserError: images are missing, changed or too few.
    """
    found: dict[str, Dataset] = {}
    for name, dataset in config.dataset.items():
        node, kept = dict(dataset.node), config.folder / "manifests" / f"{name}.json"
        given = node.get("manifest")
        if "manifest" in node and given is None and kept.is_file():
            node["manifest"] = str(kept)
        found[name] = opened_one = build_part(node, f"dataset.{name}")
        if isinstance(opened_one, ImageFileDataset):
            _keep(opened_one.manifest, kept, f"dataset.{name}.manifest={given}")
    return found


def _keep(manifest: Manifest, path: Path, given: str) -> None:
    if not path.is_file():
        write_manifest(manifest, path)
    elif read_manifest(path).images != manifest.images:
        raise UserError(
            f"{given}: names other images than {path}, with which this experiment was begun. "
            "Leave it out, or choose another name: name=..."
        )


def trains(model: Model, dataset: Dataset) -> bool:
    """Whether the dataset has what training needs."""
    return not set(model.trains_with) & set(notes_of(dataset).lacks)


def measures(task: Task, dataset: Dataset) -> bool:
    """Whether the dataset has what the task's metrics need."""
    return bool(measurable(task, dataset))


@dataclass(frozen=True)
class LeftOut:
    """What a study does without: a model's part in a dataset, or an image.

    Attributes:
        dataset: its name.
        what: the model, the image or the concept.
        why: what is not done, or not there, and the reason.
    """

    dataset: str
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.dataset}: {self.what}: {self.why}"


def left_out(
    models: Mapping[str, Model], tasks: Mapping[str, Task], datasets: Mapping[str, Dataset]
) -> list[LeftOut]:
    """Each model that a dataset lacks something for."""
    found = []
    for name, dataset in datasets.items():
        lacks = notes_of(dataset).lacks
        for model_name, model in models.items():
            task, what = tasks[model.task], []
            if not trains(model, dataset):
                what.append("no word is trained in it")
            known = measurable(task, dataset)
            if not known:
                what.append("nothing is measured in it")
            elif unknown := [metric for metric in task.metrics if metric not in known]:
                what.append(f"{', '.join(unknown)} is not measured in it")
            of_metrics = getattr(task, "needs", {}).values()
            needs = dict.fromkeys([*model.trains_with, *task.measured_with, *chain(*of_metrics)])
            reasons = "; ".join(lacks[need] for need in needs if need in lacks)
            if what:
                found.append(LeftOut(name, model_name, f"{' and '.join(what)}: {reasons}"))
    return found


def left_out_images(datasets: Mapping[str, Dataset]) -> list[LeftOut]:
    """What a person should know of the images; of many skipped files the first."""
    found = []
    for name, dataset in datasets.items():
        remarks = notes_of(dataset)
        for line in remarks.noted:
            what, _, why = line.partition(": ")
            found.append(LeftOut(name, what, why))
        found += [LeftOut(name, each.file, each.reason) for each in remarks.skipped[:MOST_SHOWN]]
        if (more := len(remarks.skipped) - MOST_SHOWN) > 0:
            found.append(LeftOut(name, f"{more} more files", f"see manifests/{name}.json"))
    return found


def shortages(datasets: Mapping[str, Dataset]) -> list[str]:
    """What a person should know of the images, in a line or two for each dataset."""
    lines = []
    for name, dataset in datasets.items():
        remarks = notes_of(dataset)
        lines += _first_of(name, remarks.noted, "of its images")
        skipped = [f"{each.file}: {each.reason}" for each in remarks.skipped]
        lines += _first_of(name, skipped, "skipped files")
    return lines


def _first_of(name: str, found: Sequence[str], what: str) -> list[str]:
    if not found:
        return []
    more = f" (and {len(found) - 1} more; all are in manifests/{name}.json)" if found[1:] else ""
    return [f"{name}: {what}: {found[0]}{more}"]
