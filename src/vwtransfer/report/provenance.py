"""Where and how a study was made: command, machine, versions, checkpoints, time."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open

from vwtransfer import __version__
from vwtransfer.report.study_folder import CELL, StudyFolder


def provenance(study: StudyFolder) -> dict[str, Any]:
    """Where and how the study was made, as far as its folder tells."""
    known = study.provenance or {}
    machine = known.get("machine") or {}
    rows = study.frame.drop_duplicates([*CELL, "kind", "transfer", "target_model"])
    training, words = _training(study.folder)
    facts = {
        "command": known.get("command"),
        "date of the latest job": known.get("date"),
        "commit": _commit(known.get("git") or ""),
        "seeds": ", ".join(f"{name} {seed}" for name, seed in (known.get("seeds") or {}).items()),
        "machine": ", ".join(
            f"{value} {name}" if name == "cores" else str(value) for name, value in machine.items()
        ),
        "python": known.get("python"),
        "time of training": _duration(training, words),
        "time of measuring": _duration(float(rows["eval_seconds"].sum()), len(study.words)),
        "report written by": f"vwtransfer {__version__}",
    }
    models = (study.config or {}).get("model") or {}
    return {
        "facts": {name: value or "not recorded" for name, value in facts.items()},
        "models": {
            name: node["checkpoint"]
            for name, node in models.items()
            if isinstance(node, Mapping) and "checkpoint" in node
        },
        "packages": known.get("packages") or {},
        "config": yaml.safe_dump(dict(study.config), sort_keys=False) if study.config else "",
    }


def _commit(git: Any) -> str | None:
    """The commit as a person reads it, of `0123abc+` or of what was noted in its place before."""
    if isinstance(git, str):
        git = {"commit": git.removesuffix("+"), "changed": git.endswith("+")}
    if not isinstance(git, Mapping):
        return None
    changed = " (with changes)" if git.get("changed") else ""
    return f"{git['commit']}{changed}" if git.get("commit") else None


def _training(folder: Path) -> tuple[float, int]:
    """Seconds that words took (each its share of its pack's), and how many words there are."""
    seconds = []
    for path in (folder / "words").rglob("*.safetensors"):
        if not path.is_file():
            continue
        try:
            with safe_open(path, framework="numpy") as file:
                seconds.append(float((file.metadata() or {})["seconds"]))
        except (SafetensorError, OSError, ValueError, KeyError):
            continue
    known = [each for each in seconds if math.isfinite(each)]
    return sum(known), len(known)


def _duration(seconds: float, words: int) -> str | None:
    """`2 h 05 min: 75 s for each of 100 words`; None where no word tells."""
    if not words:
        return None
    minutes = round(seconds / 60)
    total = f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
    total = total if minutes else f"{seconds:.0f} s"
    return f"{total}: {seconds / words:.3g} s for each of {words:,} words"
