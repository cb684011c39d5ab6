"""The generators with a UNet: two Stable Diffusions, and one of SDXL's kind.

All denoise the latents of the first one's autoencoder. Text encoders learn first from what captions
are about, then with the UNet.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from vwtransfer.errors import UserError
from vwtransfer.files import write_text
from vwtransfer.tinyworld.lexicon import support, whole_words, words
from vwtransfer.tinyworld.world import FRAME
from vwtransfer.tinyworld_build.autoencoder import PIXELS
from vwtransfer.tinyworld_build.contrastive import PatchHeads, token_ids
from vwtransfer.tinyworld_build.generator import (
    ONE_OR_TWO,
    Read,
    assemble,
    build_unet,
    denoising_loss,
    save_generator,
    states_of,
)
from vwtransfer.tinyworld_build.pool import draw_pool, sample_scenes
from vwtransfer.tinyworld_build.sentences import (
    TEXT_WIDTH,
    SceneReader,
    build_text_encoder,
    sentence_loss,
)
from vwtransfer.tinyworld_build.stage import Chance
from vwtransfer.tinyworld_build.stages import Build, write_folder
from vwtransfer.tinyworld_build.tokenizer import CONTEXT, LONGER, tokenizer

XL_WIDTHS = {"text_encoder": 64, "text_encoder_2": 96}
XL_TIME_WIDTH = 8  # of each of the six numbers of size and crop
XL_CHANNELS = (32, 48, 72)


@dataclass(frozen=True)
class StableDiffusion:
    """What the two Stable Diffusions differ in.

    Attributes:
        stage: that trains the UNet, and the folder of the pipeline.
        text_stage: that trains the text encoder before.
        width: of the text encoder's states.
        channels: of the UNet's levels.
        whole: the words that are one token.
        context: tokens of a prompt.
        is_first: whether it is the one whose autoencoder all share.
    """

    stage: str
    text_stage: str
    width: int
    channels: tuple[int, int, int]
    whole: Callable[[], tuple[str, ...]]
    context: int
    is_first: bool

    def tokenizer(self) -> CLIPTokenizer:
        """Its vocabulary."""
        return tokenizer(self.whole(), self.context)


FIRST = StableDiffusion("generation", "text", TEXT_WIDTH, (32, 64, 96), words, CONTEXT, True)
SECOND = StableDiffusion(
    "tiny_sd_b", "tiny_sd_b_text", 128, (32, 48, 80), whole_words, LONGER, False
)


def read_tokens(vocabulary: CLIPTokenizer) -> list[str]:
    """The tokens that captions are read as, in the order of their ids: those that are trained."""
    ids = {number for word in words() for number in vocabulary(word).input_ids[1:-1]}
    return list(vocabulary.convert_ids_to_tokens(sorted(ids)))


def stable_diffusion_text(kind: StableDiffusion, build: Build) -> float:
    """The text encoder learns what captions mean."""
    vocabulary = kind.tokenizer()
    encoder = build_text_encoder(build.seed_of(kind.text_stage), kind.width, vocabulary)
    return _text(build, kind.text_stage, vocabulary, {"text_encoder": (encoder, "pooler_output")})


def _text(
    build: Build, stage: str, vocabulary: CLIPTokenizer, encoders: Mapping[str, tuple[Any, str]]
) -> float:
    """Has text encoders learn from scenes, and keeps them in the working folder.

    Args:
        build: what the stage belongs to.
        stage: its name.
        vocabulary: of all of them.
        encoders: by name, and where in its output the state of a caption is.
    """
    recipe = build.recipes[stage]
    scenes = sample_scenes(stage, recipe.pool, ONE_OR_TWO)
    modules: dict[str, nn.Module] = {}
    losses = []
    for name, (encoder, state) in encoders.items():

        def read(texts: list[str], encoder: Any = encoder, state: str = state) -> Tensor:
            pooled_BE: Tensor = encoder(input_ids=token_ids(vocabulary, texts))[state]
            return pooled_BE

        reader = SceneReader(encoder.config.hidden_size)
        modules |= {name: encoder, f"{name}_reader": reader}
        losses.append(sentence_loss(read, reader, scenes, recipe.batch))

    def loss(chance: Chance) -> dict[str, Tensor]:
        parts = [each(chance) for each in losses]
        return {f"{key} {i}": value for i, part in enumerate(parts) for key, value in part.items()}

    seconds = build.learn(stage, modules, loss)
    for name, (encoder, _) in encoders.items():
        write_folder(build.work / stage / name, encoder.save_pretrained)
    return seconds


def stable_diffusion(kind: StableDiffusion, build: Build) -> float:
    """The UNet joins the text encoder."""
    vocabulary = kind.tokenizer()
    if kind.is_first:
        autoencoder = AutoencoderKL.from_pretrained(done(build, "autoencoder"))
    else:
        autoencoder = first_autoencoder(build)
    text_encoder = CLIPTextModel.from_pretrained(done(build, kind.text_stage) / "text_encoder")
    unet = build_unet(build.seed_of(kind.stage), kind.width, kind.channels)
    read = states_of(text_encoder, vocabulary)
    seconds = _denoise(build, kind.stage, unet, read, {"text_encoder": text_encoder}, autoencoder)
    pipeline = assemble(autoencoder, text_encoder, unet, kind.tokenizer())

    def save(folder: Path) -> None:
        save_generator(pipeline, folder, kind.whole(), kind.context)
        if not kind.is_first:  # whose support stands beside its folder
            write_text(folder / "support.txt", "\n".join(read_tokens(vocabulary)) + "\n")

    build.publish(kind.stage, save)
    return seconds


def sdxl_text(build: Build) -> float:
    """The text encoders of SDXL's kind learn, each by itself, what captions mean."""
    seed = build.seed_of("tiny_sdxl_text")
    first = build_text_encoder(seed, XL_WIDTHS["text_encoder"])
    second = build_text_encoder(
        seed + 1, XL_WIDTHS["text_encoder_2"], kind=CLIPTextModelWithProjection
    )
    encoders = {
        "text_encoder": (first, "pooler_output"),
        "text_encoder_2": (second, "text_embeds"),
    }
    return _text(build, "tiny_sdxl_text", tokenizer(), encoders)


def sdxl(build: Build) -> float:
    """The generator of SDXL's kind: its UNet joins its two text encoders."""
    stage = "tiny_sdxl"
    texts = done(build, f"{stage}_text")
    first = CLIPTextModel.from_pretrained(texts / "text_encoder")
    second = CLIPTextModelWithProjection.from_pretrained(texts / "text_encoder_2")
    unet = build_unet(
        build.seed_of(stage),
        sum(XL_WIDTHS.values()),
        XL_CHANNELS,
        addition_embed_type="text_time",
        addition_time_embed_dim=XL_TIME_WIDTH,
        projection_class_embeddings_input_dim=6 * XL_TIME_WIDTH + XL_WIDTHS["text_encoder_2"],
    )
    autoencoder = first_autoencoder(build)
    # that of Stable Diffusion XL 1.0
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        timestep_spacing="leading",
        steps_offset=1,
    )
    noising = DDPMScheduler.from_config(scheduler.config)
    encoders = {"text_encoder": first, "text_encoder_2": second}
    read = sdxl_conditions(first, second)
    seconds = _denoise(build, stage, unet, read, encoders, autoencoder, scheduler=noising)
    for part in (autoencoder, first, second, unet):
        part.eval()
    pipeline = StableDiffusionXLPipeline(
        vae=autoencoder,
        text_encoder=first,
        text_encoder_2=second,
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        unet=unet,
        scheduler=scheduler,
        add_watermarker=False,
    )

    def save(folder: Path) -> None:
        save_generator(pipeline, folder)
        write_text(folder / "support.txt", "\n".join(support()) + "\n")

    build.publish(stage, save)
    return seconds


def sdxl_conditions(first: CLIPTextModel, second: CLIPTextModelWithProjection) -> Read:
    """What a UNet of SDXL's kind reads of prompts; of empty ones zeros, as its pipeline has it.

    Every second image is said to be as large as it was drawn, the others as small as it is learned:
    training words meets the former, drawing the latter.
    """

    def read(texts: list[str]) -> dict[str, Any]:
        ids_BL = token_ids(tokenizer(), texts)
        states = [
            encoder(input_ids=ids_BL, output_hidden_states=True) for encoder in (first, second)
        ]
        said_B = torch.tensor([float(text != "") for text in texts])
        states_BLD = torch.cat([state.hidden_states[-2] for state in states], dim=-1)
        sizes_B2 = torch.tensor([(FRAME, FRAME), (PIXELS, PIXELS)]).repeat(len(texts), 1)
        rest_B4 = torch.tensor([[0, 0, PIXELS, PIXELS]]).expand(len(texts), -1)
        return {
            "encoder_hidden_states": said_B[:, None, None] * states_BLD,
            "added_cond_kwargs": {
                "text_embeds": said_B[:, None] * states[1].text_embeds,
                "time_ids": torch.cat([sizes_B2[: len(texts)], rest_B4], dim=1).float(),
            },
        }

    return read


def _denoise(
    build: Build,
    stage: str,
    unet: UNet2DConditionModel,
    read: Read,
    encoders: dict[str, Any],
    autoencoder: AutoencoderKL,
    **options: Any,
) -> float:
    """Trains a UNet and the text encoders that it reads."""
    heads = PatchHeads(unet.config.block_out_channels[-1])
    recipe = build.recipes[stage]
    pool = draw_pool(stage, recipe.pool, ONE_OR_TWO, PIXELS)
    loss = denoising_loss(unet, read, heads, autoencoder, pool, recipe.batch, **options)
    modules = {"unet": unet, **encoders, "heads": heads}
    return build.learn(stage, modules, loss, **dict.fromkeys(encoders, 0.25))


def first_autoencoder(build: Build) -> AutoencoderKL:
    """The first generator's, as it is published."""
    folder = build.out / "generation" / "vae"
    if not folder.is_dir():
        raise UserError(f"{folder}: the stage generation comes first; its autoencoder is needed.")
    return AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32)


def done(build: Build, stage: str) -> Path:
    """The folder of what a stage that comes before has made."""
    if not (build.work / stage).is_dir():
        raise UserError(f"--stages: the stage {stage} comes first, and is not done yet.")
    return build.work / stage
