"""Builds the models of the tiny world, each stage resumable.

    python -m vwtransfer.tinyworld

A stage keeps its checkpoints, its curve and a record of steps and seconds in a working folder; what
it made goes to the weights folder in the layout of a hub checkpoint.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from vwtransfer.files import write_json, write_text
from vwtransfer.tinyworld.lexicon import support
from vwtransfer.tinyworld.world import FRAME, Layout
from vwtransfer.tinyworld_build.autoencoder import PIXELS as GENERATED
from vwtransfer.tinyworld_build.autoencoder import autoencoder_loss, build_autoencoder
from vwtransfer.tinyworld_build.clips import build_judge, save_judge
from vwtransfer.tinyworld_build.contrastive import AttributeHeads, info_nce, learn_towers, towers
from vwtransfer.tinyworld_build.drawn_worlds import STAGES_OF_WORLDS
from vwtransfer.tinyworld_build.flow import flow, flow_text
from vwtransfer.tinyworld_build.generator import ONE_OR_TWO, set_latent_scale
from vwtransfer.tinyworld_build.grounding import (
    CONTEXT,
    GroundingHeads,
    build_grounding,
    grounding_loss,
    save_grounding,
)
from vwtransfer.tinyworld_build.pool import draw_pool
from vwtransfer.tinyworld_build.siglip import build_siglip, save_siglip, sigmoid_contrast
from vwtransfer.tinyworld_build.siglip_tokenizer import siglip_tokenizer
from vwtransfer.tinyworld_build.stages import Build, write_folder
from vwtransfer.tinyworld_build.tokenizer import tokenizer
from vwtransfer.tinyworld_build.unet_generators import (
    FIRST,
    SECOND,
    sdxl,
    sdxl_text,
    stable_diffusion,
    stable_diffusion_text,
)
from vwtransfer.tinyworld_build.wordpiece import bert_tokenizer


def _judge(build: Build) -> float:
    model = build_judge(build.seed_of("judge"))
    heads = AttributeHeads(model.config.projection_dim, model.config.vision_config.hidden_size)
    contrast, save = info_nce(model.logit_scale), partial(save_judge, model)
    # Every second image is as soft as the generator's small pictures, which the judge will judge.
    return learn_towers(
        build, "judge", model, towers(model), contrast, heads, tokenizer(), save, coarse=GENERATED
    )


def _autoencoder(build: Build) -> float:
    model = build_autoencoder(build.seed_of("autoencoder"))
    recipe = build.recipes["autoencoder"]
    pool = draw_pool("autoencoder", recipe.pool, ONE_OR_TWO, GENERATED)
    seconds = build.learn(
        "autoencoder", {"model": model}, autoencoder_loss(model, pool, recipe.batch)
    )
    set_latent_scale(model, pool)
    write_folder(build.work / "autoencoder", model.save_pretrained)
    return seconds


def _grounding(build: Build) -> float:
    model = build_grounding(build.seed_of("grounding"))
    heads = GroundingHeads()
    recipe = build.recipes["grounding"]
    pool = draw_pool("grounding", recipe.pool, Layout(), FRAME)
    loss = grounding_loss(model, heads, pool, bert_tokenizer(CONTEXT), recipe.batch)
    seconds = build.learn("grounding", {"model": model, "heads": heads}, loss)
    build.publish("tiny_grounding_dino", partial(save_grounding, model))
    return seconds


def _tiny_siglip(build: Build) -> float:
    stage = "tiny_siglip"
    model = build_siglip(build.seed_of(stage))
    width = model.config.vision_config.hidden_size
    contrast, save = sigmoid_contrast(model), partial(save_siglip, model)
    both, heads, words = towers(model), AttributeHeads(width, width), siglip_tokenizer()
    return learn_towers(build, stage, model, both, contrast, heads, words, save)


_BUILDERS: Mapping[str, Callable[[Build], float]] = {
    "judge": _judge,
    "autoencoder": _autoencoder,
    "text": partial(stable_diffusion_text, FIRST),
    "generation": partial(stable_diffusion, FIRST),
    "flow_text": flow_text,
    "flow": flow,
    "tiny_sd_b_text": partial(stable_diffusion_text, SECOND),
    "tiny_sd_b": partial(stable_diffusion, SECOND),
    "tiny_sdxl_text": sdxl_text,
    "tiny_sdxl": sdxl,
    "grounding": _grounding,
    "tiny_siglip": _tiny_siglip,
    **STAGES_OF_WORLDS,
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
