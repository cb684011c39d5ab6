"""The generator: a Stable Diffusion of 32 x 32 pixels, made of the library's own parts.

Letters of shapes: B batch, C latent channels, H and W height and width, L tokens.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from vwtransfer.files import write_json
from vwtransfer.tinyworld.world import Layout
from vwtransfer.tinyworld_build.autoencoder import LATENT_CHANNELS, PIXELS, encoded
from vwtransfer.tinyworld_build.captions import caption
from vwtransfer.tinyworld_build.contrastive import PatchHeads, patch_targets, token_ids
from vwtransfer.tinyworld_build.pool import Pool
from vwtransfer.tinyworld_build.stage import Chance, Loss
from vwtransfer.tinyworld_build.tokenizer import CONTEXT, save_tokenizer

LATENT_SIDE = 16
UNCAPTIONED = 0.1  # share of the captions dropped, for guidance
ONE_OR_TWO = Layout(counts=(0.7, 0.3), radius=(10.0, 26.0))
Read = Callable[[list[str]], dict[str, Any]]  # prompts -> what a UNet is given of them


def build_unet(
    seed: int, text_width: int, channels: tuple[int, int, int], **options: Any
) -> UNet2DConditionModel:
    """The UNet with random weights.

    Args:
        seed: of the weights.
        text_width: of the states it reads.
        channels: of its levels, 16, 8 and 4 latents wide.
        options: more of the class.
    """
    torch.manual_seed(seed)
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=channels,
        layers_per_block=1,
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=8,
        use_linear_projection=True,
        **options,
    )


def noise_schedule() -> DDIMScheduler:
    """The scheduler of Stable Diffusion 2.1."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def set_latent_scale(model: AutoencoderKL, pool: Pool) -> None:
    """Sets the factor that brings latents to unit deviation."""
    mean_BCHW, deviation_BCHW = encoded(model, pool.images_BCHW[:1024]).chunk(2, dim=1)
    sample_BCHW = mean_BCHW + deviation_BCHW * torch.randn(
        mean_BCHW.shape, generator=torch.Generator().manual_seed(0)
    )
    model.register_to_config(scaling_factor=round(1 / float(sample_BCHW.std()), 4))


def states_of(text_encoder: CLIPTextModel, words: CLIPTokenizer) -> Read:
    """What a Stable Diffusion's UNet reads of prompts."""

    def read(texts: list[str]) -> dict[str, Any]:
        ids_BL = token_ids(words, texts)
        return {"encoder_hidden_states": text_encoder(input_ids=ids_BL).last_hidden_state}

    return read


def denoising_loss(
    unet: UNet2DConditionModel,
    read: Read,
    heads: PatchHeads,
    autoencoder: AutoencoderKL,
    pool: Pool,
    batch: int,
    scheduler: DDIMScheduler | DDPMScheduler | None = None,
) -> Loss:
    """The denoising objective on velocity or noise, for UNet and text encoders together.

    Half of the times are drawn towards the middle of the schedule, where shapes are decided; and
    the UNet's states half way up also have to tell what is being drawn where, without which shapes
    are learned many times slower (as by aligning them with a trained encoder's).
    """
    patches = patch_targets(pool, 2 * PIXELS // LATENT_SIDE, PIXELS)
    posterior = encoded(autoencoder, pool.images_BCHW)
    scale = autoencoder.config.scaling_factor
    scheduler = scheduler or noise_schedule()

    def loss(chance: Chance) -> Mapping[str, Tensor]:
        rows = torch.randint(len(pool.scenes), (batch,), generator=chance.torch)
        texts = captions(chance, pool, rows)
        mean_BCHW, deviation_BCHW = posterior[rows].chunk(2, dim=1)
        draw_BCHW = torch.randn(mean_BCHW.shape, generator=chance.torch)
        latents_BCHW = scale * (mean_BCHW + deviation_BCHW * draw_BCHW)
        noise_BCHW = torch.randn(mean_BCHW.shape, generator=chance.torch)
        steps = scheduler.config.num_train_timesteps
        times_B = (times(batch, chance.torch) * steps).long().clamp(max=steps - 1)
        noisy_BCHW = scheduler.add_noise(latents_BCHW, noise_BCHW, times_B)
        prompts = read(texts)
        states: list[Tensor] = []
        with unet.up_blocks[0].register_forward_hook(lambda *seen: states.append(seen[-1])):
            predicted_BCHW = unet(noisy_BCHW, times_B, **prompts).sample
        if scheduler.config.prediction_type == "v_prediction":
            target_BCHW = scheduler.get_velocity(latents_BCHW, noise_BCHW, times_B)
        else:  # noise weighs as its error does in velocity, up to a bound
            weight_B = scheduler.alphas_cumprod[times_B].rsqrt().clamp(max=3)
            weight_B111 = weight_B[:, None, None, None]
            predicted_BCHW, target_BCHW = weight_B111 * predicted_BCHW, weight_B111 * noise_BCHW
        state_BPW = states[0].flatten(2).transpose(1, 2)
        aside = heads.losses(state_BPW, patches.of(rows))
        return {
            "denoising": F.mse_loss(predicted_BCHW, target_BCHW),
            **{name: 0.3 * value for name, value in aside.items()},
        }

    return loss


def captions(chance: Chance, pool: Pool, rows_B: Tensor) -> list[str]:
    """What is said of scenes of a pool; now and then nothing, for guidance."""
    return [
        ""
        if chance.python.random() < UNCAPTIONED
        else caption(chance.python, pool.scenes[i], others=1.0)
        for i in rows_B.tolist()
    ]


def times(batch: int, generator: torch.Generator) -> Tensor:
    """Times of a batch as shares of the schedule, half of them uniform and half logit-normal."""
    uniform = torch.rand(batch - batch // 2, generator=generator)
    middle = torch.randn(batch // 2, generator=generator).sigmoid()
    return torch.cat((uniform, middle))


def assemble(
    autoencoder: AutoencoderKL,
    text_encoder: CLIPTextModel,
    unet: UNet2DConditionModel,
    words: CLIPTokenizer,
) -> StableDiffusionPipeline:
    """The pipeline of the three trained parts."""
    for part in (autoencoder, text_encoder, unet):
        part.eval()
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=words,
        unet=unet,
        scheduler=noise_schedule(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_generator(
    pipeline: Any, folder: Path, whole: tuple[str, ...] | None = None, context: int = CONTEXT
) -> None:
    """Saves a pipeline in float16, as `from_pretrained` reads it; see `save_tokenizer`."""
    pipeline.to(dtype=torch.float16).save_pretrained(folder, safe_serialization=True)
    for tokens in folder.glob("tokenizer*"):
        save_tokenizer(tokens, whole, context)
    tidy_config(folder / "vae" / "config.json")


def tidy_config(config: Path) -> None:
    """Takes the folder that a part was built in out of its config."""
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings.pop("_name_or_path", None)
    write_json(config, settings)
