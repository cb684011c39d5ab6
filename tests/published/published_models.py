"""The published checkpoints as the study's own config finds them, in a folder of this machine."""

from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch

from vwtransfer.config.composition import compose
from vwtransfer.datasets import Dataset
from vwtransfer.models.suite import Suite, build, build_part

# config of a model -> its role, and the repository it names
REPOSITORIES = {
    "sd21": ("generation", "stable-diffusion-2-1"),
    "sd15": ("generation", "stable-diffusion-v1-5"),
    "owlv2_base": ("detection", "owlv2-base-patch16-ensemble"),
    "owlv2_large": ("detection", "owlv2-large-patch14-ensemble"),
    "dfn_clip": ("classification", "DFN2B-CLIP-ViT-L-14"),
    "openai_clip_l14": ("classification", "vit_large_patch14_clip_224.openai"),
    "laion_clip_b32": ("classification", "CLIP-ViT-B-32-laion2B-s34B-b79K"),
}
JUDGE, SAFETY = "clip-vit-large-patch14", "stable-diffusion-safety-checker"
# the largest difference of features of length 1, or of normalised states
TOLERANCE = {"float32": 2e-5, "float16": 5e-3, "bfloat16": 4e-2}


@lru_cache(maxsize=3)  # models are large; conftest.py has the tests of each in a row
def suite(model: str, dtype: str, folder: Path) -> Suite:
    """The paper's suite with one model taken from `folder`, where the layouts lie."""
    role, repository = REPOSITORIES[model]
    keys = ["model=paper", f"model/{role}={model}", f"model.{role}.dtype={dtype}"]
    keys += [f"model.{role}.checkpoint={folder / repository}"]
    keys += [f"model.judge.checkpoint={folder / JUDGE}", "model.judge.dtype=float32"]
    keys += [f"model.safety.checkpoint={folder / SAFETY}", "model.safety.dtype=float32"]
    keys += [f"model.{role}.training.steps=1", f"model.{role}.training.batch_size=2"]
    keys += ["model.generation.denoising_steps=2"]
    return build(compose(keys), torch.device("cpu"))


def task(model: str, dtype: str, folder: Path) -> Any:
    """The task that a published model does."""
    return suite(model, dtype, folder).tasks[REPOSITORIES[model][0]]


@cache
def dataset() -> Dataset:
    """Two concepts, two images each to train and one to measure with."""
    concepts = ["red_striped_star", "blue_dotted_heart"]
    node = dict(compose([]).dataset["tiny_shapes"].node)
    node["concepts"] = {concept: node["concepts"][concept] for concept in concepts}
    node |= {"training_images": 2, "held_out_images": 1}
    part: Dataset = build_part(node, "dataset.tiny_shapes")
    return part
