"""Stable Diffusion 1 and 2: a UNet that reads the states of one CLIP text encoder.

Letters: N words, D embedding width, B batch, L tokens, C, H, W channels and sides of a latent.
"""

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from vwtransfer.models.embedding_space import EmbeddingSpace, Prompts
from vwtransfer.models.latent_diffusion import LatentDiffusion
from vwtransfer.models.text_encoder import Encoded


class UnetDiffusion(LatentDiffusion):
    """A UNet trained to predict noise, velocity or the image at discrete times."""

    @cached_property
    def _noising(self) -> Any:
        from diffusers import DDPMScheduler

        return DDPMScheduler.from_config(self.pipeline.scheduler.config)

    def times(self, count: int, stream: torch.Generator) -> Tensor:
        """Any time of the schedule, [count]."""
        steps = self._noising.config.num_train_timesteps
        return torch.randint(steps, (count,), generator=stream)

    def predicted_and_target(
        self,
        latent_BCHW: Tensor,
        noise_BCHW: Tensor,
        times_B: Tensor,
        prompts: Prompts,
        sizes_B2: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """See `LatentDiffusion`.

        Raises:
            ValueError: the scheduler's prediction_type is neither epsilon, v_prediction nor sample.
        """
        noising, unet = self._noising, self.denoiser
        noisy_BCHW = noising.add_noise(latent_BCHW, noise_BCHW, times_B)
        predicted = unet(noisy_BCHW.to(unet.dtype), times_B, **self.read(prompts, sizes_B2)).sample
        match noising.config.prediction_type:
            case "epsilon":
                return predicted, noise_BCHW
            case "v_prediction":
                return predicted, noising.get_velocity(latent_BCHW, noise_BCHW, times_B)
            case "sample":
                return predicted, latent_BCHW
            case other:
                raise ValueError(f"unknown prediction_type {other!r}")

    def read(self, prompts: Prompts, sizes_B2: Tensor | None) -> Mapping[str, Any]:
        """What the UNet is given beside noisy latents and times."""
        return {"encoder_hidden_states": prompts.states_NLD}

    def load(self) -> Any:
        """See `LatentDiffusion`; its UNet has the attention that the settings choose."""
        from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

        pipeline = super().load()
        if self.settings.attention:
            processor = {"eager": AttnProcessor, "sdpa": AttnProcessor2_0}[self.settings.attention]
            pipeline.unet.set_attn_processor(processor())
        return pipeline


class StableDiffusion(UnetDiffusion):
    """A StableDiffusionPipeline."""

    kind = "StableDiffusionPipeline"
    encoders = MappingProxyType({"text": ("text_encoder", "CLIPTextModel")})
    options = MappingProxyType(
        {
            "safety_checker": None,  # ours flags images, and hides none
            "requires_safety_checker": False,
            "feature_extractor": None,
        }
    )

    @cached_property
    def text(self) -> EmbeddingSpace:
        """The CLIP text encoder; all its states are read."""
        encoder = self.text_encoders["text_encoder"]

        def forward(ids_NL: Tensor, mask_NL: Tensor | None) -> Encoded:
            return Encoded(encoder(input_ids=ids_NL).last_hidden_state, None)

        embedding, blocks = encoder.get_input_embeddings(), encoder.encoder.layers
        return self.text_space(embedding, forward, blocks, only_pooled=False)

    def conditions(self, prompts: Prompts) -> Mapping[str, Any]:
        """See `LatentDiffusion`; guidance leads away from nothing, read by as many blocks."""
        nothing_1LD = self.text.encode_text([""]).states_NLD
        return {
            "prompt_embeds": prompts.states_NLD,
            "negative_prompt_embeds": nothing_1LD.expand(len(prompts), -1, -1),
        }
