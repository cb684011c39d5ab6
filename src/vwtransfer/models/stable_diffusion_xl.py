"""Stable Diffusion XL: a UNet that reads two CLIP text encoders, and the size and crop of images.

A word is the vectors of both encoders side by side, "clip_l" (768 wide) before "clip_g" (1280).

Letters: N words, D embedding width, B batch, L tokens, E width of the pooled output.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from vwtransfer.errors import UserError
from vwtransfer.models.embedding_space import EmbeddingSpace, Prompts
from vwtransfer.models.latent_diffusion import embeds
from vwtransfer.models.stable_diffusion import UnetDiffusion
from vwtransfer.models.text_encoder import Encoded, TextEncoder
from vwtransfer.words.formats import SDXL

FIRST, SECOND = SDXL


class StableDiffusionXL(UnetDiffusion):
    """A StableDiffusionXLPipeline; its second tokenizer pads with another token."""

    kind = "StableDiffusionXLPipeline"
    encoders = MappingProxyType(
        {
            FIRST: ("text_encoder", "CLIPTextModel"),
            SECOND: ("text_encoder_2", "CLIPTextModelWithProjection"),
        }
    )
    options = MappingProxyType({"add_watermarker": False})

    def vae_dtype(self) -> torch.dtype:
        """Float32 where the VAE's config asks for it.

        Raises:
            UserError: the config cannot be read, or latents are normalised by channel.
        """
        from diffusers import AutoencoderKL

        checkpoint = self.checkpoint
        with checkpoint.loading():
            vae = AutoencoderKL.load_config(
                checkpoint.source, subfolder="vae", revision=checkpoint.revision
            )
        if vae.get("latents_mean") is not None:
            raise UserError(
                f"{checkpoint.key}.checkpoint={checkpoint.source}: its latents are normalised by "
                "channel (latents_mean), which is not supported."
            )
        return torch.float32 if vae.get("force_upcast", True) else self.dtype

    @cached_property
    def text(self) -> EmbeddingSpace:
        """Both encoders: the states before their last block, and the second's pooled output."""
        first, second = (self.text_encoders[folder] for folder, _ in self.encoders.values())
        layers = first.encoder.layers, second.text_model.encoder.layers

        def read_first(ids_NL: Tensor, mask_NL: Tensor | None) -> Encoded:
            states_NLD, _ = read_before(layers[0][-1], lambda: first(ids_NL))
            return Encoded(states_NLD)

        def read_second(ids_NL: Tensor, mask_NL: Tensor | None) -> Encoded:
            states_NLD, output = read_before(layers[1][-1], lambda: second(ids_NL))
            return Encoded(states_NLD, output.text_embeds)

        reads = (read_first, read_second)
        blocks = (layers[0][:-1], layers[1])  # nothing is read behind the first's last
        encoders = {
            name: TextEncoder(
                self.vocabularies[name],
                encoder.get_input_embeddings(),
                read,
                only_pooled=False,
                blocks=own,
            )
            for name, encoder, read, own in zip(SDXL, (first, second), reads, blocks, strict=True)
        }
        return EmbeddingSpace(encoders, self.support, self.name)

    def read(self, prompts: Prompts, sizes_B2: Tensor | None) -> Mapping[str, Any]:
        """What the UNet is given beside noisy latents and times, as the library trains it.

        Images are told to have had their own size, and to be cut nowhere.
        """
        states_BLD, pooled_BE = read_off(prompts)
        assert sizes_B2 is not None
        rest_4 = torch.tensor([0, 0, self.size, self.size], device=sizes_B2.device)
        times_B6 = torch.cat([sizes_B2, rest_4.expand(len(sizes_B2), -1)], dim=1)
        return {
            "encoder_hidden_states": states_BLD,
            "added_cond_kwargs": {"text_embeds": pooled_BE, "time_ids": times_B6},
        }

    def conditions(self, prompts: Prompts) -> Mapping[str, Any]:
        """See `LatentDiffusion`; guidance leads away from what the pipeline takes for nothing."""
        states_NLD, pooled_NE = read_off(prompts)
        if self.pipeline.config.force_zeros_for_empty_prompt:
            nothing = torch.zeros_like(states_NLD), torch.zeros_like(pooled_NE)
        else:
            nothing = read_off(self.text.encode_text([""]).repeat_interleave(len(prompts)))
        return embeds(states_NLD, pooled_NE) | embeds(*nothing, "negative_")

    @torch.no_grad()
    def draw(self, prompts: Prompts, streams: Sequence[torch.Generator]) -> list[Image.Image]:
        """An image for each encoded prompt, from noise of its own stream.

        The VAE decodes in its own precision; the pipeline would hand it latents of the UNet's.
        """
        vae = self.pipeline.vae
        latents = self.generate(prompts, streams, output_type="latent").to(vae.dtype)
        decoded = vae.decode(latents / vae.config.scaling_factor).sample
        images: list[Image.Image] = self.pipeline.image_processor.postprocess(decoded)
        return images


def read_off(prompts: Prompts) -> tuple[Tensor, Tensor]:
    """What the UNet reads of prompts: states [N, L, D] of both encoders, pooled output [N, E]."""
    states_NLD = torch.cat([prompts.states(name) for name in SDXL], dim=-1)
    return states_NLD, prompts.pooled(SECOND)


def read_before(block: nn.Module, run: Callable[[], Any]) -> tuple[Tensor, Any]:
    """The states [N, L, D] that reach a block, the library's hidden_states, and what `run` gives.

    The library keeps hidden states by hooks that see nothing of `activations.cut`.
    """
    seen: list[Tensor] = []

    def keep(_block: nn.Module, inputs: Any, named: dict[str, Any]) -> None:
        seen.append(inputs[0] if inputs else named["hidden_states"])

    with block.register_forward_pre_hook(keep, with_kwargs=True):
        output = run()
    return seen[0], output
