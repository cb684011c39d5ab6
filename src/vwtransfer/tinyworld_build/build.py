"""Builds the models of the tiny world, each stage resumable.

    python -m vwtransfer.tinyworld

A stage keeps its checkpoints, its curve and a record of steps and seconds in a working folder; what
it made goes to the weights folder in the layout of a hub checkpoint.
"""

from collections.abc import Callable, Mapping, Sequence

from diffusers import AutoencoderKL
from torch import Tensor
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
    token_ids,
)
from vwtransfer.tinyworld_build.detector import (
    JOINT,
    WIDTH,
    build_detector,
    detection_loss,
    save_detector,
)
from vwtransfer.tinyworld_build.drawn_worlds import STAGES_OF_WORLDS
from vwtransfer.tinyworld_build.flow import flow, flow_text
from vwtransfer.tinyworld_build.generator import (
    ONE_OR_TWO,
    assemble,
    build_unet,
    denoising_loss,
    save_generator,
    set_latent_scale,
    states_of,
)
from vwtransfer.tinyworld_build.grounding import (
    CONTEXT,
    GroundingHeads,
    build_grounding,
    grounding_loss,
    save_grounding,
)
from vwtransfer.tinyworld_build.pool import draw_pool, sample_scenes
from vwtransfer.tinyworld_build.sentences import SceneReader, build_text_encoder, sentence_loss
from vwtransfer.tinyworld_build.siglip import (
    build_siglip,
    save_siglip,
    siglip_towers,
    sigmoid_contrast,
)
from vwtransfer.tinyworld_build.siglip_tokenizer import siglip_tokenizer
from vwtransfer.tinyworld_build.stages import Build, write_folder
from vwtransfer.tinyworld_build.tokenizer import tokenizer
from vwtransfer.tinyworld_build.unet_generators import sd_b, sd_b_text, sdxl, sdxl_text
from vwtransfer.tinyworld_build.wordpiece import bert_tokenizer


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
    write_folder(build.work / "autoencoder", model.save_pretrained)
    return seconds


def _text(build: Build) -> float:
    encoder = build_text_encoder(build.seed_of("text"))
    reader = SceneReader()
    recipe = build.recipes["text"]
    scenes = sample_scenes("text", recipe.pool, ONE_OR_TWO)

    def read(texts: list[str]) -> Tensor:
        pooled_BE: Tensor = encoder(input_ids=token_ids(tokenizer(), texts)).pooler_output
        return pooled_BE

    loss = sentence_loss(read, reader, scenes, recipe.batch)
    seconds = build.learn("text", {"encoder": encoder, "reader": reader}, loss)
    write_folder(build.work / "text", encoder.save_pretrained)
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
    read = states_of(text_encoder, tokenizer())
    loss = denoising_loss(unet, read, heads, autoencoder, pool, recipe.batch)
    modules = {"unet": unet, "text_encoder": text_encoder, "heads": heads}
    seconds = build.learn("generation", modules, loss, text_encoder=0.25)
    pipeline = assemble(autoencoder, text_encoder, unet)
    build.publish("generation", lambda folder: save_generator(pipeline, folder))
    return seconds


def _grounding(build: Build) -> float:
    model = build_grounding(build.seed_of("grounding"))
    heads = GroundingHeads()
    recipe = build.recipes["grounding"]
    pool = draw_pool("grounding", recipe.pool, Layout(), FRAME)
    loss = grounding_loss(model, heads, pool, bert_tokenizer(CONTEXT), recipe.batch)
    seconds = build.learn("grounding", {"model": model, "heads": heads}, loss)
    build.publish("tiny_grounding_dino", lambda folder: save_grounding(model, folder))
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
    "flow_text": flow_text,
    "flow": flow,
    "tiny_sd_b_text": sd_b_text,
    "tiny_sd_b": sd_b,
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
