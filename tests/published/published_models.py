"""The published checkpoints as the study's own config finds them, in a folder of this machine."""

from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import grounding_layouts
import open_clip
import torch

from vwtransfer.config.composition import compose
from vwtransfer.datasets import Dataset
from vwtransfer.models.suite import Suite, build, build_part

# model -> its task, and the repository it names
REPOSITORIES = {
    "sd21": ("generation", "stable-diffusion-2-1"),
    "sd15": ("generation", "stable-diffusion-v1-5"),
    "sdxl": ("generation", "stable-diffusion-xl-base-1.0"),
    "owlv2_base": ("detection", "owlv2-base-patch16-ensemble"),
    "owlv2_large": ("detection", "owlv2-large-patch14-ensemble"),
    "dfn_clip": ("classification", "DFN2B-CLIP-ViT-L-14"),
    "openai_clip_l14": ("classification", "vit_large_patch14_clip_224.openai"),
    "laion_clip_b32": ("classification", "CLIP-ViT-B-32-laion2B-s34B-b79K"),
    **grounding_layouts.REPOSITORIES,
}
# MM Grounding DINO is Grounding DINO but for its class head: one precision is enough
ONE_PRECISION = ("mm_grounding_dino_base",)
# classifiers with towers or tokenizers of other kinds, checked in a file of their own
CLASSIFIERS = {
    "pe_core_l14": ("classification", "PE-Core-L-14-336"),
    "metaclip_h14": ("classification", "vit_huge_patch14_clip_224.metaclip_2pt5b"),
    "mobileclip2_s4": ("classification", "MobileCLIP2-S4-OpenCLIP"),
    "siglip2_base": ("classification", "siglip2-base-patch16-224"),
    "siglip2_so400m": ("classification", "siglip2-so400m-patch14-384"),
}
JUDGE, SAFETY = "clip-vit-large-patch14", "stable-diffusion-safety-checker"
# the largest difference of features of length 1, or of normalised states
TOLERANCE = {"float32": 2e-5, "float16": 5e-3, "bfloat16": 4e-2}


@lru_cache(maxsize=3)  # models are large; conftest.py has the tests of each in a row
def suite(name: str, dtype: str, folder: Path) -> Suite:
    """The paper's suite with one model taken from `folder`, where the layouts lie."""
    task, repository = (REPOSITORIES | CLASSIFIERS)[name]
    keys = ["model=paper", f"model/{task}={name}", f"model.{name}.dtype={dtype}"]
    keys += [f"model.{name}.checkpoint={folder / repository}"]
    keys += [f"model.judge.checkpoint={folder / JUDGE}", "model.judge.dtype=float32"]
    keys += [f"model.safety.checkpoint={folder / SAFETY}", "model.safety.dtype=float32"]
    keys += [f"model.{name}.training.steps=1", f"model.{name}.training.batch_size=2"]
    keys += ["model.generation.denoising_steps=2"]
    return build(compose(keys), torch.device("cpu"))


def loaded(name: str, dtype: str, folder: Path) -> Any:
    """A published model of `folder`; its weights are read when they are first used."""
    return suite(name, dtype, folder).models[name]


def write_support(path: Path, every: int = 20) -> Path:
    """Some of CLIP's whole-word tokens: each 20th are more than models are wide."""
    words = sorted(w for w in open_clip.tokenizer.SimpleTokenizer().encoder if w.endswith("</w>"))
    path.write_text("\n".join(words[::every]))
    return path


@cache
def dataset() -> Dataset:
    """Two concepts, two images each to train and one to measure with."""
    concepts = ["red_striped_star", "blue_dotted_heart"]
    node = dict(compose([]).dataset["tiny_shapes"].node)
    node["concepts"] = {concept: node["concepts"][concept] for concept in concepts}
    node |= {"training_images": 2, "held_out_images": 1}
    part: Dataset = build_part(node, "dataset.tiny_shapes")
    return part
