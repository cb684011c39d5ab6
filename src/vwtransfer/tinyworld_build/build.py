"""Builds the models of the tiny world, each stage resumable.

    python -m vwtransfer.tinyworld

A stage keeps its checkpoints, its curve and a record of steps and seconds in a working folder; what
it made goes to the weights folder in the layout of a hub checkpoint.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from rich.progress import Progress, TaskID
from torch import nn
from transformers import CLIPTextModel

from vwtransfer.errors import UserError
from vwtransfer.files import write_json, write_text
from vwtransfer.tinyworld.lexicon import support
from vwtransfer.tinyworld.world import FRAME, Layout
from vwtransfer.tinyworld_build.autoencoder import PIXELS as GENERATED
from vwtransfer.tinyworld_build.autoencoder import autoencoder_loss, build_autoencoder
from vwtransfer.tinyworld_build.clips import (
    PIXELS,
    build_classifier,
    build_judge,
    classifier_towers,
    judge_towers,
    save_classifier,
    save_judge,
)
from vwtransfer.tinyworld_build.contrastive import (
    AttributeHeads,
    PatchHeads,
    contrastive_loss,
    info_nce,
)
from vwtransfer.tinyworld_build.detector import (
    JOINT,
    WIDTH,
    build_detector,
    detection_loss,
    save_detector,
)
from vwtransfer.tinyworld_build.generator import (
    ONE_OR_TWO,
    assemble,
    build_unet,
    denoising_loss,
    save_generator,
    set_latent_scale,
)
from vwtransfer.tinyworld_build.pool import draw_pool, sample_scenes
from vwtransfer.tinyworld_build.recipes import STAGES
from vwtransfer.tinyworld_build.sentences import SceneReader, build_text_encoder, sentence_loss
from vwtransfer.tinyworld_build.siglip import (
    build_siglip,
    save_siglip,
    siglip_towers,
    sigmoid_contrast,
)
from vwtransfer.tinyworld_build.siglip_tokenizer import siglip_tokenizer
from vwtransfer.tinyworld_build.stage import Loss, Recipe, train
from vwtransfer.tinyworld_build.tokenizer import tokenizer


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
        _write_folder(self.out / name, save)


def _write_folder(final: Path, save: Callable[[Path], None]) -> None:
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


def _judge(build: Build) -> float:
    model = build_judge(build.seed_of("judge"))
    heads = AttributeHeads(model.config.projection_dim, model.config.vision_config.hidden_size)
    recipe = build.recipes["judge"]
    # Every second image is as soft as the generator's small pictures, which the judge will judge.
    pool = draw_pool("judge", recipe.pool, Layout(), PIXELS, coarse=GENERATED)
    contrast = info_nce(model.logit_scale)
    towers = judge_towers(model)
    loss = contrastive_loss(towers, contrast, heads, pool, tokenizer(), recipe.batch)
    seconds = build.learn("judge", {"model": model, "heads": heads}, loss)
    build.publish("judge", lambda folder: save_judge(model, folder))
    return seconds


def _classification(build: Build) -> float:
    model = build_classifier(build.seed_of("classification"))
    heads = AttributeHeads(model.visual.output_dim, model.visual.conv1.out_channels)
    recipe = build.recipes["classification"]
    pool = draw_pool("classification", recipe.pool, Layout(), PIXELS)
    contrast = info_nce(model.logit_scale)
    towers = classifier_towers(model)
    loss = contrastive_loss(towers, contrast, heads, pool, tokenizer(), recipe.batch)
    seconds = build.learn("classification", {"model": model, "heads": heads}, loss)
    build.publish("classification", lambda folder: save_classifier(model, folder))
    return seconds


def _detection(build: Build) -> float:
    model = build_detector(build.seed_of("detection"))
    heads = AttributeHeads(JOINT, WIDTH)
    recipe = build.recipes["detection"]
    pool = draw_pool("detection", recipe.pool, Layout(), FRAME)
    loss = detection_loss(model, heads, pool, tokenizer(), recipe.batch)
    seconds = build.learn("detection", {"model": model, "heads": heads}, loss)
    build.publish("detection", lambda folder: save_detector(model, folder))
    return seconds


def _autoencoder(build: Build) -> float:
    model = build_autoencoder(build.seed_of("autoencoder"))
    recipe = build.recipes["autoencoder"]
    pool = draw_pool("autoencoder", recipe.pool, ONE_OR_TWO, GENERATED)
    seconds = build.learn(
        "autoencoder", {"model": model}, autoencoder_loss(model, pool, recipe.batch)
    )
    set_latent_scale(model, pool)
    _write_folder(build.work / "autoencoder", model.save_pretrained)
    return seconds


def _text(build: Build) -> float:
    encoder = build_text_encoder(build.seed_of("text"))
    reader = SceneReader()
    recipe = build.recipes["text"]
    scenes = sample_scenes("text", recipe.pool, ONE_OR_TWO)
    loss = sentence_loss(encoder, reader, scenes, tokenizer(), recipe.batch)
    seconds = build.learn("text", {"encoder": encoder, "reader": reader}, loss)
    _write_folder(build.work / "text", encoder.save_pretrained)
    return seconds


def _generation(build: Build) -> float:
    for part in ("autoencoder", "text"):
        if not (build.work / part).is_dir():
            raise UserError(f"--stages generation needs the stage {part}, which is not done yet.")
    autoencoder = AutoencoderKL.from_pretrained(build.work / "autoencoder")
    text_encoder = CLIPTextModel.from_pretrained(build.work / "text")
    unet = build_unet(build.seed_of("generation"))
    heads = PatchHeads(unet.config.block_out_channels[-1])
    recipe = build.recipes["generation"]
    pool = draw_pool("generation", recipe.pool, ONE_OR_TWO, GENERATED)
    loss = denoising_loss(unet, text_encoder, heads, autoencoder, pool, tokenizer(), recipe.batch)
    modules = {"unet": unet, "text_encoder": text_encoder, "heads": heads}
    seconds = build.learn("generation", modules, loss, text_encoder=0.25)
    pipeline = assemble(autoencoder, text_encoder, unet)
    build.publish("generation", lambda folder: save_generator(pipeline, folder))
    return seconds


def _tiny_siglip(build: Build) -> float:
    model = build_siglip(build.seed_of("tiny_siglip"))
    vision = model.config.vision_config
    heads = AttributeHeads(vision.hidden_size, vision.hidden_size)
    recipe = build.recipes["tiny_siglip"]
    pool = draw_pool("tiny_siglip", recipe.pool, Layout(), PIXELS)
    contrast = sigmoid_contrast(model)
    towers, words = siglip_towers(model), siglip_tokenizer()
    loss = contrastive_loss(towers, contrast, heads, pool, words, recipe.batch)
    seconds = build.learn("tiny_siglip", {"model": model, "heads": heads}, loss)
    build.publish("tiny_siglip", lambda folder: save_siglip(model, folder))
    return seconds


_BUILDERS: Mapping[str, Callable[[Build], float]] = {
    "judge": _judge,
    "classification": _classification,
    "detection": _detection,
    "autoencoder": _autoencoder,
    "text": _text,
    "generation": _generation,
    "tiny_siglip": _tiny_siglip,
}


def run(build: Build, stages: Sequence[str]) -> None:
    """Runs the stages that are not done yet, in the order given.

    Raises:
        UserError: a stage was begun on other terms, or needs one that is not done.
    """
    write_text(build.out / "support.txt", "\n".join(support()) + "\n")
    for stage in stages:
        if build.begin(stage):
            seconds = _BUILDERS[stage](build)
            write_json(build.record(stage), build.terms(stage) | {"seconds": round(seconds)})
