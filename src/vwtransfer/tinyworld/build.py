"""Builds the four models of the tiny world, each stage resumable.

    python -m vwtransfer.tinyworld

A stage keeps its checkpoints, its curve and a record of steps and seconds in a working folder; what
it made goes to the weights folder in the layout of a hub checkpoint.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from rich.progress import Progress, TaskID
from torch import nn
from transformers import CLIPModel

from vwtransfer.tinyworld.autoencoder import PIXELS as GENERATED
from vwtransfer.tinyworld.autoencoder import autoencoder_loss, build_autoencoder
from vwtransfer.tinyworld.clips import (
    PIXELS,
    build_classifier,
    build_judge,
    classifier_towers,
    judge_towers,
    save_classifier,
    save_judge,
)
from vwtransfer.tinyworld.contrastive import AttributeHeads, contrastive_loss
from vwtransfer.tinyworld.detector import (
    JOINT,
    WIDTH,
    build_detector,
    detection_loss,
    save_detector,
)
from vwtransfer.tinyworld.generator import (
    ONE_OR_TWO,
    assemble,
    build_unet,
    denoising_loss,
    save_generator,
    set_latent_scale,
    text_encoder_of,
)
from vwtransfer.tinyworld.pool import draw_pool
from vwtransfer.tinyworld.recipes import STAGES
from vwtransfer.tinyworld.stage import Loss, Recipe, train
from vwtransfer.tinyworld.vocabulary import support, tokenizer
from vwtransfer.tinyworld.world import FRAME, Layout


@dataclass(frozen=True)
class Build:
    """One build of the tiny world.

    Attributes:
        out: the weights folder.
        work: checkpoints, curves and records.
        seed: of all weights and all chance.
        recipes: by stage.
        progress: shows steps and the time left.
    """

    out: Path
    work: Path
    seed: int
    recipes: Mapping[str, Recipe]
    progress: Progress

    def seed_of(self, stage: str) -> int:
        """A stage's own seed, so that no two models start alike."""
        return 1000 * self.seed + STAGES.index(stage)

    def checkpoint(self, stage: str) -> Path:
        """The file a stage's state is kept in."""
        return self.work / f"{stage}.pt"

    def learn(self, stage: str, modules: Mapping[str, nn.Module], loss: Loss, **rates: float) -> None:
        """Trains the modules of a stage and records what it took."""
        recipe = self.recipes[stage]
        task = self.progress.add_task(stage, total=recipe.steps)
        curve = _Curve(self.work / f"{stage}.csv", self.progress, task)
        seconds = train(
            stage,
            nn.ModuleDict(modules),
            loss,
            recipe,
            self.checkpoint(stage),
            self.seed,
            curve.add,
            rates=rates,
        )
        record = {
            "stage": stage,
            "seed": self.seed,
            "seconds": round(seconds),
            "threads": torch.get_num_threads(),
            "recipe": asdict(recipe),
        }
        (self.work / f"{stage}.json").write_text(json.dumps(record, indent=2), encoding="utf-8")

    def publish(self, name: str, save: Callable[[Path], None]) -> None:
        """Saves a model into its folder, whole or not at all."""
        partial, final = self.out / f".{name}.partial", self.out / name
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save(partial)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)


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


def _judge(build: Build) -> None:
    model = build_judge(build.seed_of("judge"))
    heads = AttributeHeads(model.config.projection_dim, model.config.vision_config.hidden_size)
    recipe = build.recipes["judge"]
    # Every second image is as soft as the generator's small pictures, which the judge will judge.
    pool = draw_pool("judge", recipe.pool, Layout(), PIXELS, coarse=GENERATED)
    loss = contrastive_loss(judge_towers(model), heads, pool, tokenizer(), recipe.batch)
    build.learn("judge", {"model": model, "heads": heads}, loss)
    build.publish("judge", lambda folder: save_judge(model, folder))


def _classification(build: Build) -> None:
    model = build_classifier(build.seed_of("classification"))
    heads = AttributeHeads(model.visual.output_dim, model.visual.conv1.out_channels)
    recipe = build.recipes["classification"]
    pool = draw_pool("classification", recipe.pool, Layout(), PIXELS)
    loss = contrastive_loss(classifier_towers(model), heads, pool, tokenizer(), recipe.batch)
    build.learn("classification", {"model": model, "heads": heads}, loss)
    build.publish("classification", lambda folder: save_classifier(model, folder))


def _detection(build: Build) -> None:
    model = build_detector(build.seed_of("detection"))
    heads = AttributeHeads(JOINT, WIDTH)
    recipe = build.recipes["detection"]
    pool = draw_pool("detection", recipe.pool, Layout(), FRAME)
    loss = detection_loss(model, heads, pool, tokenizer(), recipe.batch)
    build.learn("detection", {"model": model, "heads": heads}, loss)
    build.publish("detection", lambda folder: save_detector(model, folder))


def _autoencoder(build: Build) -> None:
    model = build_autoencoder(build.seed_of("autoencoder"))
    recipe = build.recipes["autoencoder"]
    pool = draw_pool("autoencoder", recipe.pool, ONE_OR_TWO, GENERATED)
    build.learn("autoencoder", {"model": model}, autoencoder_loss(model, pool, recipe.batch))
    set_latent_scale(model, pool)
    model.save_pretrained(build.work / "autoencoder")


def _text(build: Build) -> None:
    model = build_judge(build.seed_of("text"), image=96, pixels=GENERATED)
    heads = AttributeHeads(model.config.projection_dim, model.config.vision_config.hidden_size)
    recipe = build.recipes["text"]
    pool = draw_pool("text", recipe.pool, ONE_OR_TWO, GENERATED)
    loss = contrastive_loss(judge_towers(model), heads, pool, tokenizer(), recipe.batch)
    build.learn("text", {"model": model, "heads": heads}, loss)
    model.save_pretrained(build.work / "text")


def _generation(build: Build) -> None:
    autoencoder = AutoencoderKL.from_pretrained(build.work / "autoencoder")
    text_encoder = text_encoder_of(CLIPModel.from_pretrained(build.work / "text"))
    unet = build_unet(build.seed_of("generation"))
    recipe = build.recipes["generation"]
    pool = draw_pool("generation", recipe.pool, ONE_OR_TWO, GENERATED)
    loss = denoising_loss(unet, text_encoder, autoencoder, pool, tokenizer(), recipe.batch)
    modules = {"unet": unet, "text_encoder": text_encoder}
    build.learn("generation", modules, loss, text_encoder=0.25)
    pipeline = assemble(autoencoder, text_encoder, unet)
    build.publish("generation", lambda folder: save_generator(pipeline, folder))


_BUILDERS: Mapping[str, Callable[[Build], None]] = {
    "judge": _judge,
    "classification": _classification,
    "detection": _detection,
    "autoencoder": _autoencoder,
    "text": _text,
    "generation": _generation,
}


def run(build: Build, stages: Sequence[str]) -> None:
    """Runs stages in the order given; a finished one costs only its loading."""
    build.work.mkdir(parents=True, exist_ok=True)
    build.out.mkdir(parents=True, exist_ok=True)
    (build.out / "support.txt").write_text("\n".join(support()) + "\n", encoding="utf-8")
    for stage in stages:
        _BUILDERS[stage](build)
