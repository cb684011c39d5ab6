"""FLUX.1: T5 says what is drawn token by token, CLIP in one pooled feature.

Letters: N words, B batch, L tokens, P packed patches, C, H, W channels and sides of a latent.
"""

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from vwtransfer.config import models as config
from vwtransfer.models.embedding_space import EmbeddingSpace, Prompts
from vwtransfer.models.flow_matching import T5_KIND, FlowMatching, t5_encoder
from vwtransfer.models.latent_diffusion import embeds
from vwtransfer.models.text_encoder import Encoded, TextEncoder
from vwtransfer.words.formats import FLUX

CLIP, T5 = FLUX


class Flux(FlowMatching):
    """A FluxPipeline, with an embedding of guidance (dev) or without one (schnell)."""

    settings: config.Flux
    kind = "FluxPipeline"
    encoders = MappingProxyType(
        {CLIP: ("text_encoder", "CLIPTextModel"), T5: ("text_encoder_2", T5_KIND)}
    )

    @cached_property
    def text(self) -> EmbeddingSpace:
        """CLIP, of which the pooled feature is read, and T5, of which all states are."""
        clip, t5 = (self.text_encoders[folder] for folder, _ in self.encoders.values())
        vocabularies = self.vocabularies

        def forward(ids_NL: Tensor, mask_NL: Tensor | None) -> Encoded:
            return Encoded(pooled_NE=clip(input_ids=ids_NL).pooler_output)

        first = TextEncoder(
            vocabularies[CLIP],
            clip.get_input_embeddings(),
            forward,
            only_pooled=True,
            blocks=clip.encoder.layers,
        )
        second = t5_encoder(vocabularies[T5], t5)
        return EmbeddingSpace({CLIP: first, T5: second}, self.support, self.name)

    @property
    def size(self) -> int:
        """Pixels of a side of an image; of the pipeline's parts the VAE alone states one."""
        stated: int = self.pipeline.vae.config.sample_size
        return self.settings.image_size or stated

    def velocity(self, noisy_BCHW: Tensor, times_B: Tensor, prompts: Prompts) -> Tensor:
        """See `FlowMatching`; the transformer reads 2 x 2 patches of latents."""
        pipeline, transformer = self.pipeline, self.denoiser
        B, C, H, W = noisy_BCHW.shape
        device, dtype = noisy_BCHW.device, noisy_BCHW.dtype
        guidance_B = None
        if transformer.config.guidance_embeds:
            guidance_B = torch.full((B,), self.settings.training_guidance, device=device)
        states_BLD = prompts.states(T5)
        velocity_BPC = transformer(
            hidden_states=pipeline._pack_latents(noisy_BCHW, B, C, H, W),
            timestep=times_B,
            guidance=guidance_B,
            pooled_projections=prompts.pooled(CLIP),
            encoder_hidden_states=states_BLD,
            txt_ids=torch.zeros(states_BLD.shape[1], 3, device=device, dtype=dtype),
            img_ids=pipeline._prepare_latent_image_ids(B, H // 2, W // 2, device, dtype),
        ).sample
        scale = pipeline.vae_scale_factor
        velocity_BCHW: Tensor = pipeline._unpack_latents(velocity_BPC, H * scale, W * scale, scale)
        return velocity_BCHW

    def conditions(self, prompts: Prompts) -> Mapping[str, Any]:
        """See `LatentDiffusion`.

        Guidance is an input of the transformer, or none; with `true_guidance_scale` above 1 the
        model is also led away from nothing, as models without either need it.
        """
        given = embeds(prompts.states(T5), prompts.pooled(CLIP))
        if self.settings.true_guidance_scale == 1:
            return given
        nothing = self.text.encode_text([""]).repeat_interleave(len(prompts))
        away = embeds(nothing.states(T5), nothing.pooled(CLIP), "negative_")
        return {**given, **away, "true_cfg_scale": self.settings.true_guidance_scale}
