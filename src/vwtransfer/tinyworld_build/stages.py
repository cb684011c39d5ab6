"""One build of the tiny world: its folders, records and seeds, and how a stage of it learns."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress, TaskID
from torch import nn

from vwtransfer.errors import UserError
from vwtransfer.files import write_json
from vwtransfer.tinyworld_build.recipes import STAGES
from vwtransfer.tinyworld_build.stage import Loss, Recipe, train


@dataclass(frozen=True)
class Build:
    """One build of the tiny world.

    Attributes:
        out: the weights folder.
        work: checkpoints, curves and records.
        seed: of all weights and all chance.
        recipes: by stage.
        progress: shows steps and the time left.
        every: steps between two checkpoints.
    """

    out: Path
    work: Path
    seed: int
    recipes: Mapping[str, Recipe]
    progress: Progress
    every: int = 100

    def seed_of(self, stage: str) -> int:
        """A stage's own seed, so that no two models start alike."""
        return 1000 * self.seed + STAGES[stage]

    def record(self, stage: str) -> Path:
        """The file that says what a stage was run with and, once it is done, what it took."""
        return self.work / f"{stage}.json"

    def records(self) -> list[dict[str, Any]]:
        """The records of all stages begun in the working folder."""
        found = [self.record(stage) for stage in STAGES]
        return [json.loads(path.read_text(encoding="utf-8")) for path in found if path.exists()]

    def terms(self, stage: str) -> dict[str, Any]:
        """All that decides a stage's bits on a given machine."""
        recipe = self.recipes[stage]
        return {
            "stage": stage,
            "seed": self.seed,
            "threads": torch.get_num_threads(),
            "recipe": asdict(recipe) | {"restarts": list(recipe.restarts)},
        }

    def begin(self, stage: str) -> bool:
        """Whether a stage has something left to do.

        Raises:
            UserError: the working folder holds the stage begun on other terms.
        """
        terms, path = self.terms(stage), self.record(stage)
        if not path.exists():
            write_json(path, terms)
            return True
        found = json.loads(path.read_text(encoding="utf-8"))
        seconds = found.pop("seconds", None)
        if found != terms:
            raise UserError(
                f"{path}: this stage was begun with another seed, recipe or number of threads. "
                "Go on with those, or choose another folder with --work."
            )
        return seconds is None

    def learn(
        self, stage: str, modules: Mapping[str, nn.Module], loss: Loss, **rates: float
    ) -> float:
        """Trains the modules of a stage; returns the seconds its steps took."""
        recipe = self.recipes[stage]
        task = self.progress.add_task(stage, total=recipe.steps)
        curve = _Curve(self.work / f"{stage}.csv", self.progress, task)
        return train(
            stage,
            nn.ModuleDict(modules),
            loss,
            recipe,
            self.work / f"{stage}.pt",
            self.seed,
            curve.add,
            every=self.every,
            rates=rates,
        )

    def publish(self, name: str, save: Callable[[Path], None]) -> None:
        """Saves a model into its folder; what was there goes when the new one is whole."""
        write_folder(self.out / name, save)


def write_folder(final: Path, save: Callable[[Path], None]) -> None:
    """Has a folder written beside, and put in place when it is whole."""
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save(partial)
    shutil.rmtree(final, ignore_errors=True)
    partial.replace(final)


@dataclass
class _Curve:
    """Writes every 50th step's losses to a file and moves the progress bar."""

    path: Path
    progress: Progress
    task: TaskID

    def add(self, step: int, losses: Mapping[str, float]) -> None:
        self.progress.update(self.task, completed=step)
        if step % 50 == 0:
            row = ",".join(f"{name}={value:.4f}" for name, value in losses.items())
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{step},{row}\n")
