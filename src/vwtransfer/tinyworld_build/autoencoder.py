"""The generator's autoencoder: 32 x 32 images to 16 x 16 latents.

Letters of shapes: B batch, C channels, H and W height and width.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from vwtransfer.tinyworld_build.pool import Pool
from vwtransfer.tinyworld_build.stage import Chance, Loss

PIXELS = 32
LATENT_CHANNELS = 4


def build_autoencoder(seed: int) -> AutoencoderKL:
    """An AutoencoderKL with random weights."""
    torch.manual_seed(seed)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(24, 48),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=PIXELS,
    )


def signed(images_BCHW: Tensor) -> Tensor:
    """uint8 images as values from -1 to 1."""
    return images_BCHW.float() / 127.5 - 1


def autoencoder_loss(model: AutoencoderKL, pool: Pool, batch: int) -> Loss:
    """Reconstruction of values and of edges, and a light pull of the latents to a normal."""

    def loss(chance: Chance) -> Mapping[str, Tensor]:
        rows = torch.randint(len(pool.scenes), (batch,), generator=chance.torch)
        images_BCHW = signed(pool.images_BCHW[rows])
        posterior = model.encode(images_BCHW).latent_dist
        noise_BCHW = torch.randn(posterior.mean.shape, generator=chance.torch)
        decoded_BCHW = model.decode(posterior.mean + posterior.std * noise_BCHW).sample
        error_BCHW = decoded_BCHW - images_BCHW
        return {
            "absolute": error_BCHW.abs().mean(),
            "squared": error_BCHW.square().mean(),
            "edges": 0.5
            * (error_BCHW.diff(dim=-1).abs().mean() + error_BCHW.diff(dim=-2).abs().mean()),
            "prior": 2e-3 * posterior.kl().mean() / posterior.mean[0].numel(),
        }

    return loss


@torch.no_grad()
def encoded(model: AutoencoderKL, images_BCHW: Tensor) -> Tensor:
    """Mean and deviation of the latents, B 2C H W."""
    parts = []
    for images in images_BCHW.split(256):
        posterior = model.encode(signed(images)).latent_dist
        parts.append(torch.cat((posterior.mean, posterior.std), dim=1))
    return torch.cat(parts)


def noise_ratio(model: AutoencoderKL, images_BCHW: Tensor) -> float:
    """Peak signal-to-noise ratio of the reconstructions, in decibels."""
    with torch.no_grad():
        mean_BCHW = model.encode(signed(images_BCHW)).latent_dist.mean
        decoded_BCHW = model.decode(mean_BCHW).sample.clamp(-1, 1)
    error = F.mse_loss(decoded_BCHW / 2, signed(images_BCHW) / 2)
    return float(-10 * error.log10())
