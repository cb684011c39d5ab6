"""The models of the wide world, of whose words few have to do with a concept."""

from functools import cache
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

from vwtransfer.files import write_text
from vwtransfer.tinyworld.lexicon import support, words
from vwtransfer.tinyworld.world import FRAME, WIDE, Layout
from vwtransfer.tinyworld_build.clips import (
    PIXELS,
    build_classifier,
    classifier_config,
    classifier_towers,
    save_classifier,
)
from vwtransfer.tinyworld_build.contrastive import AttributeHeads, contrastive_loss, info_nce
from vwtransfer.tinyworld_build.detector import build_detector, detection_loss, save_detector
from vwtransfer.tinyworld_build.pool import draw_pool
from vwtransfer.tinyworld_build.stages import Build
from vwtransfer.tinyworld_build.tokenizer import tokenizer

CLIP_TEXT, CLIP_IMAGE = 80, 96
OWL_TEXT, OWL_IMAGE = 96, 112


@cache
def wide_tokenizer() -> CLIPTokenizer:
    """The shared tokenizer, in which every word is one token."""
    return tokenizer(words(WIDE))


def wide_clip(build: Build) -> float:
    """The classifier."""
    recipe = build.recipes["wide_clip"]
    config: dict[str, Any] = classifier_config(CLIP_TEXT, CLIP_IMAGE, words(WIDE))
    model = build_classifier(build.seed_of("wide_clip"), config)
    heads = AttributeHeads(CLIP_TEXT, CLIP_IMAGE, WIDE)
    pool = draw_pool("wide_clip", recipe.pool, Layout(), PIXELS, world=WIDE)
    contrast, towers = info_nce(model.logit_scale), classifier_towers(model)
    loss = contrastive_loss(towers, contrast, heads, pool, wide_tokenizer(), recipe.batch)
    seconds = build.learn("wide_clip", {"model": model, "heads": heads}, loss)

    def save(folder: Path) -> None:
        save_classifier(model, folder, config, words(WIDE))
        _list_support(folder)

    build.publish("wide_clip", save)
    return seconds


def wide_owlv2(build: Build) -> float:
    """The detector."""
    recipe = build.recipes["wide_owlv2"]
    model = build_detector(build.seed_of("wide_owlv2"), OWL_TEXT, OWL_IMAGE, wide_tokenizer())
    heads = AttributeHeads(OWL_TEXT, OWL_IMAGE, WIDE)
    pool = draw_pool("wide_owlv2", recipe.pool, Layout(), FRAME, world=WIDE)
    loss = detection_loss(model, heads, pool, wide_tokenizer(), recipe.batch)
    seconds = build.learn("wide_owlv2", {"model": model, "heads": heads}, loss)

    def save(folder: Path) -> None:
        save_detector(model, folder, words(WIDE))
        _list_support(folder)

    build.publish("wide_owlv2", save)
    return seconds


def _list_support(folder: Path) -> None:
    write_text(folder / "support.txt", "\n".join(support(WIDE)) + "\n")
