"""Flow matching as diffusers' training scripts for SD 3 and FLUX.1 have it, by its own classes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vwtransfer.datasets import Dataset, training_examples
from vwtransfer.models.embedding_space import Prompts
from vwtransfer.models.stable_diffusion_3 import StableDiffusion3
from vwtransfer.seeds import generator
from vwtransfer.words.cells import Cell

SCHEME = {"StableDiffusion3Pipeline": "logit_normal", "FluxPipeline": "none"}


def encoded(found: Any, text: str) -> tuple[Tensor, Tensor]:
    """States and pooled feature of a plain prompt, by the pipeline's own encode_prompt."""
    pipeline, length = found.pipeline, found.settings.prompt_tokens
    with torch.no_grad():
        if type(pipeline).__name__ == "FluxPipeline":
            states, pooled, _ = pipeline.encode_prompt(
                text, None, "cpu", 1, max_sequence_length=length
            )
        else:
            states, _, pooled, _ = pipeline.encode_prompt(
                text, None, None, "cpu", 1, False, max_sequence_length=length
            )
    return states, pooled


@torch.no_grad()
def loss(
    found: Any, dataset: Dataset, cell: Cell, images_B: Sequence[int], text: str, step: int
) -> Tensor:
    """The loss of a plain prompt on the training images with these numbers."""
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.training_utils import (
        compute_density_for_timestep_sampling,
        compute_loss_weighting_for_sd3,
    )

    pipeline = found.pipeline
    kind, vae, transformer = type(pipeline).__name__, pipeline.vae, pipeline.transformer
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    stream = generator("denoising", cell.stream("generation"), step)
    examples = training_examples(dataset)
    images, B, size = [examples[i].load() for i in images_B], len(images_B), found.size
    pixels = pipeline.image_processor.preprocess(images, height=size, width=size)
    posterior = vae.encode(pixels.to(vae.dtype)).latent_dist
    mean, std = posterior.mean.float(), posterior.std.float()
    sample = mean + std * torch.randn(mean.shape, generator=stream)
    latent = (sample - vae.config.shift_factor) * vae.config.scaling_factor
    noise = torch.randn(mean.shape, generator=stream)
    u = compute_density_for_timestep_sampling(SCHEME[kind], B, 0.0, 1.0, generator=stream)
    steps = (u * scheduler.config.num_train_timesteps).long()
    times, sigma = scheduler.timesteps[steps], scheduler.sigmas[steps].view(-1, 1, 1, 1)
    noisy = (1 - sigma) * latent + sigma * noise
    states, pooled = (part.expand(B, *part.shape[1:]) for part in encoded(found, text))
    weighting = compute_loss_weighting_for_sd3(SCHEME[kind], sigma)
    if kind == "StableDiffusion3Pipeline":
        predicted = transformer(
            hidden_states=noisy.to(transformer.dtype),
            timestep=times,
            encoder_hidden_states=states,
            pooled_projections=pooled,
        ).sample.float()
        error = predicted * -sigma + noisy - latent
    else:
        _, C, H, W = noisy.shape
        packed = noisy.view(B, C, H // 2, 2, W // 2, 2).permute(0, 2, 4, 1, 3, 5)
        places = torch.cartesian_prod(torch.arange(1), torch.arange(H // 2), torch.arange(W // 2))
        guided = transformer.config.guidance_embeds
        predicted = transformer(
            hidden_states=packed.flatten(3).flatten(1, 2).to(transformer.dtype),
            timestep=times / 1000,
            guidance=torch.tensor([3.5]).expand(B) if guided else None,
            pooled_projections=pooled,
            encoder_hidden_states=states,
            txt_ids=torch.zeros(states.shape[1], 3),
            img_ids=places,
        ).sample.float()
        unpacked = predicted.view(B, H // 2, W // 2, C, 2, 2).permute(0, 3, 1, 4, 2, 5)
        error = unpacked.reshape(noisy.shape) - (noise - latent)
    return (weighting * error.square()).mean()


def read(found: Any, prompts: Prompts) -> tuple[Tensor, Tensor]:
    """States and pooled feature that the transformer reads of prompts."""
    if isinstance(found, StableDiffusion3):
        return found.joined(prompts)
    states, pooled = prompts.encoded["t5xxl"].states_NLD, prompts.encoded["clip_l"].pooled_NE
    assert states is not None and pooled is not None
    return states, pooled
