"""Builds every published architecture at full depth, checks it, and prints the table of the docs.

    make verify-published [MODELS="sd21 owlv2_base"]

Random weights, float32 on disk as published, each loaded as a study loads it in a process of its
own. Takes up to 6 GB of disk, 12 GB of memory and ten minutes a model on two cores.
"""

import math
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import flow_layouts
import layouts
import torch
from published_models import (
    CLASSIFIERS,
    JUDGE,
    REPOSITORIES,
    SAFETY,
    TOLERANCE,
    dataset,
    loaded,
    suite,
)

import written_out
import written_out_flow
from vwtransfer.config.composition import compose
from vwtransfer.models.suite import build
from vwtransfer.words.cells import Cell

WORDS = ("red", "striped", "rubber", "duck")
MODELS = REPOSITORIES | CLASSIFIERS
SAID = "a photo of " + " ".join(WORDS)
BESIDE = {"judge": JUDGE, "safety": SAFETY}
HALF = "bfloat16"  # the half type that a CPU computes in at a bearable speed


def main(arguments: list[str]) -> None:
    """Prints the table, or does what a process of its own does for one row of it."""
    match arguments:
        case ["--write", model, folder]:
            repository = BESIDE.get(model) or MODELS[model][1]
            layouts.write(repository, Path(folder), shallow=False)
        case ["--row", model, folder]:
            print(row(model, Path(folder)), flush=True)
        case ["--flow", model, folder]:
            print(flow_row(model, Path(folder)), flush=True)
        case models:
            table(models or [*MODELS, *BESIDE, *flow_layouts.REPOSITORIES])


def table(models: list[str]) -> None:
    """A row for each model."""
    where = f"{platform.machine()}, {torch.get_num_threads()} threads, no GPU"
    if torch.cuda.is_available():
        where = torch.cuda.get_device_name()
    print(f"{datetime.now(UTC):%Y-%m-%d}, torch {torch.__version__}, {where}\n")
    print("| model | weights | splice identity | loss or output | peak memory | seconds |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            steps = ("--flow",) if model in flow_layouts.REPOSITORIES else ("--write", "--row")
            for step in steps:  # apart: what writes is not counted
                subprocess.run([sys.executable, __file__, step, model, folder], check=True)


def row(model: str, folder: Path) -> str:
    """Checks one model; the peak memory is that of this process."""
    began = time.perf_counter()
    with torch.no_grad():
        if model in BESIDE:
            part = getattr(suite("sd21", "float32", folder), model)
            modules, splice, result = [part.model], "holds no word", _beside(model, part)
        else:
            found = loaded(model, "float32", folder)
            splice, result = _splice(model, "float32", folder), _loss(found)
            splice += ", " + _splice(model, HALF, folder)
            modules = _modules(found)
    weights = sum(p.numel() for module in modules for p in module.parameters())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = time.perf_counter() - began
    return f"| {model} | {weights:,} | {splice} | {result} | {peak:.1f} GB | {seconds:.0f} |"


def flow_row(model: str, folder: Path) -> str:
    """Checks a model with a T5 in bfloat16: its text encoders, then its transformer.

    Each part is at full depth while the others are not, so that 24 GB of memory are enough; what
    is larger, as FLUX.1's transformer, is counted without weights.
    """
    began = time.perf_counter()
    sizes = flow_layouts.sizes(model)
    encoders = [part for part in sizes if part.startswith("text_encoder")]
    found = _flow(model, folder / "encoders", encoders)
    with torch.no_grad():
        word = found.text.anchor_rows(WORDS)[None]
        ours = written_out_flow.read(found, found.text.encode_words("a photo of {}", word))
        theirs = written_out_flow.encoded(found, SAID)
    pairs = zip(ours, theirs, strict=True)
    difference = max((a.float() - b.float()).abs().max().item() for a, b in pairs)
    del found
    shutil.rmtree(folder / "encoders")
    result = f"{sizes['transformer']:,} in its transformer, counted"
    if sizes["transformer"] < 4e9:
        found, images = _flow(model, folder / "transformer", ["transformer"]), dataset()
        cell = Cell(images.name, model, next(iter(images.concepts)), "cat", math.inf, 0)
        features, word = found.features(images), found.text.anchor_rows(WORDS)[None]
        batch = found.batches(features, cell)[:1, :1]
        with torch.no_grad():
            loss = found.loss(word, features, batch, [cell], 0)[0]
        other = written_out_flow.loss(found, images, cell, batch[0].tolist(), SAID, 0)
        result = f"loss {loss.item():.4f}, off by {(loss - other).abs().item():.0e}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = time.perf_counter() - began
    splice = f"{HALF} {difference:.0e}"
    total = sum(sizes.values())
    return f"| {model} | {total:,} | {splice} | {result} | {peak:.1f} GB | {seconds:.0f} |"


def _flow(model: str, folder: Path, deep: list[str]) -> Any:
    """The model with some parts at full depth."""
    checkpoint = flow_layouts.write(model, folder, {}, deep)
    keys = [f"checkpoint={checkpoint}", f"dtype={HALF}", "image_size=64", "prompt_tokens=24"]
    keys = ["model=tiny", f"model/generation={model}", *(f"model.{model}.{key}" for key in keys)]
    return build(compose(keys), torch.device("cpu")).models[model]


def _splice(model: str, dtype: str, folder: Path) -> str:
    """Largest difference of a word of existing embeddings from the plain text."""
    found = loaded(model, dtype, folder)
    ours = written_out.read(
        found.text.encode_words("a photo of {}", found.text.anchor_rows(WORDS)[None])
    )
    theirs = written_out.library_text(found)("a photo of " + " ".join(WORDS))
    difference = (ours.float() - theirs.float()).abs().max().item()
    assert difference < TOLERANCE[dtype], (model, dtype, difference)
    return f"{dtype} {difference:.0e}"


def _loss(found: Any) -> str:
    """Difference of a word's loss on one image from the one written out."""
    images = dataset()
    cell = Cell(images.name, found.name, next(iter(images.concepts)), "cat", math.inf, 0)
    word = found.text.anchor_rows(WORDS)
    features = found.features(images)
    count = 2 if found.task == "classification" else 1  # an image of another concept too
    batch = found.batches(features, cell)[:, :count]
    ours = found.loss(word[None], features, batch, [cell], 0)[0]
    other = written_out.loss(found, images, cell, batch[0].tolist(), word, 0)
    difference = (ours - other).abs()
    # Grounding DINO's is a sum over 900 queries, some 300: rounding grows with it
    assert difference < 1e-4 * max(1.0, other.abs().item()), (ours, other)
    return f"loss {ours.item():.4f}, off by {difference.item():.0e}"


def _beside(role: str, part: Any) -> str:
    images = [dataset().training(concept)[0].load() for concept in dataset().concepts]
    if role == "judge":
        return f"ranks {len(part.best(images, dataset().concepts))} images"
    return f"flags {sum(part.flags(images))} of {len(images)} images"


def _modules(found: Any) -> list[torch.nn.Module]:
    if found.task == "generation":
        parts = found.pipeline.components.values()
        return [part for part in parts if isinstance(part, torch.nn.Module)]
    return [found.model]


if __name__ == "__main__":
    main(sys.argv[1:])
