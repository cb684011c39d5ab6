"""The classifier and the detector of each world."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

from transformers import CLIPTokenizer

from vwtransfer.files import write_text
from vwtransfer.tinyworld.lexicon import support, words
from vwtransfer.tinyworld.world import FRAME, TINY, WORLDS, Layout, World
from vwtransfer.tinyworld_build.clips import (
    build_classifier,
    classifier_config,
    classifier_towers,
    save_classifier,
)
from vwtransfer.tinyworld_build.contrastive import AttributeHeads, info_nce, learn_towers
from vwtransfer.tinyworld_build.detector import build_detector, detection_loss, save_detector
from vwtransfer.tinyworld_build.pool import draw_pool
from vwtransfer.tinyworld_build.stages import Build
from vwtransfer.tinyworld_build.tokenizer import tokenizer

# of the classifier's text and image tower, and of the detector's
WIDTHS: Mapping[str, tuple[int, int, int, int]] = {
    "tiny": (64, 96, 80, 112),
    "wide": (80, 96, 96, 112),
    "second": (72, 88, 88, 104),
    "third": (56, 80, 72, 96),
}


@cache
def tokenizer_of(world: World) -> CLIPTokenizer:
    """The tokenizer that both models share, in which every word of the world is one token."""
    return tokenizer(words(world))


def _clip(world: World, stage: str, build: Build) -> float:
    text, image, _, _ = WIDTHS[world.name]
    config = classifier_config(text, image, words(world))
    model = build_classifier(build.seed_of(stage), config)
    heads = AttributeHeads(text, image, world)
    contrast, towers = info_nce(model.logit_scale), classifier_towers(model)

    def save(folder: Path) -> None:
        save_classifier(model, folder, config, words(world))
        _list_support(folder, world)

    return learn_towers(
        build, stage, model, towers, contrast, heads, tokenizer_of(world), save, world=world
    )


def _owlv2(world: World, stage: str, build: Build) -> float:
    _, _, text, image = WIDTHS[world.name]
    recipe = build.recipes[stage]
    model = build_detector(build.seed_of(stage), text, image, tokenizer_of(world))
    heads = AttributeHeads(text, image, world)
    pool = draw_pool(stage, recipe.pool, Layout(), FRAME, world=world)
    loss = detection_loss(model, heads, pool, tokenizer_of(world), recipe.batch)
    seconds = build.learn(stage, {"model": model, "heads": heads}, loss)

    def save(folder: Path) -> None:
        save_detector(model, folder, words(world))
        _list_support(folder, world)

    build.publish(stage, save)
    return seconds


def _list_support(folder: Path, world: World) -> None:
    """Lists the trained words beside the model; the tiny world's stand beside its folders."""
    if world != TINY:
        write_text(folder / "support.txt", "\n".join(support(world)) + "\n")


STAGES_OF_WORLDS: Mapping[str, Callable[[Build], float]] = {
    "classification": partial(_clip, TINY, "classification"),
    "detection": partial(_owlv2, TINY, "detection"),
    **{
        f"{name}_{kind}": partial(train, WORLDS[name], f"{name}_{kind}")
        for name in ("wide", "second", "third")
        for kind, train in (("clip", _clip), ("owlv2", _owlv2))
    },
}
