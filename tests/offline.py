"""What a study left for wandb, read back by wandb's own reader."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandb.util import get_core_path

SMALL = [
    "dataset=tiny_shapes",
    "dataset.tiny_shapes.held_out_images=1",
    "anchor=zepu",
    "delta=[null,0.02]",
    "model.generation.training.steps=3",
    "model.generation.denoising_steps=2",
    "model.detection.training.steps=4",
    "model.classification.training.steps=12",
    "cluster=local",
    "device=cpu",
    "threads=1",
    "progress=false",
    "report=false",
    "wandb.log_every_n_steps=1",
    "wandb.finish_timeout_s=60",  # on a busy machine nothing is to be given up
]


@dataclass(frozen=True)
class Recorded:
    """One file of a run.

    Attributes:
        path: the file.
        records: all of it, in order: {"type": T, T: {...}}.
    """

    path: Path
    records: list[dict[str, Any]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The contents of all records of a kind."""
        return [record[kind] for record in self.records if record["type"] == kind]

    @property
    def run(self) -> dict[str, Any]:
        (run,) = self.of("run")
        return run

    @property
    def history(self) -> list[dict[str, Any]]:
        return [record["item"] for record in self.of("history")]

    @property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = self.run["config"]["update"]
        return config

    @property
    def exit_code(self) -> int | None:
        """None: the file ends without one, as its job was killed."""
        ends = self.of("exit")
        return ends[-1].get("exit_code", 0) if ends else None

    def values(self, name: str) -> list[Any]:
        """What was logged under a name, in order."""
        return [item[name] for item in self.history if name in item]

    def pictures(self, name: str) -> list[Path]:
        """The files of the pictures that were logged under a name."""
        files = [file for names in self.values(f"{name}.filenames") for file in names]
        return [self.path.parent / "files" / file for file in files]

    def table(self, name: str) -> dict[str, Any]:
        """A logged table: {"columns": [...], "data": [[...], ...]}."""
        (manifest,) = [m for m in self.manifests("run_table") if f"{name}.table.json" in m]
        table: dict[str, Any] = json.loads(manifest[f"{name}.table.json"].read_text())
        return table

    def manifests(self, kind: str) -> list[dict[str, Path]]:
        """For each artifact of a kind: name inside -> file."""
        return [
            {entry["path"]: Path(entry["local_path"]) for entry in a["manifest"]["contents"]}
            for a in self.of("artifact")
            if a["type"] == kind
        ]


def recorded(folder: Path, kind: str = "offline-run") -> list[Recorded]:
    """All files of runs of a study, the oldest first; the kind of an online one is run."""
    paths = sorted(folder.glob(f"wandb/{kind}-*/*.wandb"))
    return [Recorded(path, _records(path)) for path in paths]


def _records(path: Path) -> list[dict[str, Any]]:
    # what `wandb leet inspect --json` runs, without the second that its own start takes
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json"]
    command += ["--run-file", str(path), str(path.parent)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in lines.splitlines()]
