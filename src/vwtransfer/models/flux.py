"""FLUX.1: T5 says what is drawn token by token, CLIP in one pooled feature.

Letters: N words, B batch, L tokens, P packed patches, C, H, W channels and sides of a latent.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vwtransfer.config import models as config
from vwtransfer.models.cache import Cache
from vwtransfer.models.embedding_space import EmbeddingSpace, Prompts
from vwtransfer.models.flow_matching import (
    FlowMatching,
    pooled,
    states,
    t5_encoder,
    t5_vocabulary,
)
from vwtransfer.models.pipelines import load_pipeline, load_tokenizer
from vwtransfer.models.text_encoder import Encoded, TextEncoder
from vwtransfer.models.vocabulary import Vocabulary, of_transformers
from vwtransfer.words.formats import FLUX

CLIP, T5 = FLUX
ENCODERS = ("text_encoder", "text_encoder_2")


class Flux(FlowMatching):
    """A FluxPipeline, with an embedding of guidance (dev) or without one (schnell).

    Args:
        settings: see `config.models.Flux`.
        device: where it runs.
        cache: keeps the latents of images; None: every process computes them.
    """

    settings: config.Flux
    kind = "FluxPipeline"

    def __init__(
        self, settings: config.Flux, device: torch.device, cache: Cache | None = None
    ) -> None:
        super().__init__(settings, device, cache, ENCODERS)

    @cached_property
    def vocabularies(self) -> Mapping[str, Vocabulary]:
        """The tokenizers of CLIP and T5."""
        clip = load_tokenizer(self.text_checkpoint, self.kind)
        t5 = load_tokenizer(self.text_checkpoint, self.kind, "tokenizer_2", "T5TokenizerFast")
        return {
            CLIP: of_transformers(clip, clip.model_max_length),
            T5: t5_vocabulary(t5, self.settings.prompt_tokens),
        }

    def load(self) -> Any:
        """See `LatentDiffusion`."""
        from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel

        parts = {"transformer": FluxTransformer2DModel, "vae": AutoencoderKL}
        dtypes = dict.fromkeys(parts, self.dtype)
        return load_pipeline(
            self.checkpoint, FluxPipeline, parts, dtypes, self.device, self.text_encoders
        )

    def text_classes(self) -> Mapping[str, type]:
        """See `LatentDiffusion`."""
        from transformers import CLIPTextModel, T5EncoderModel

        return dict(zip(ENCODERS, (CLIPTextModel, T5EncoderModel), strict=True))

    @cached_property
    def text(self) -> EmbeddingSpace:
        """CLIP, of which the pooled feature is read, and T5, of which all states are."""
        clip, t5 = (self.text_encoders[name] for name in ENCODERS)
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
        states_BLD = states(prompts, T5)
        velocity_BPC = transformer(
            hidden_states=pipeline._pack_latents(noisy_BCHW, B, C, H, W),
            timestep=times_B,
            guidance=guidance_B,
            pooled_projections=pooled(prompts, CLIP),
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
        given = {
            "prompt_embeds": states(prompts, T5),
            "pooled_prompt_embeds": pooled(prompts, CLIP),
        }
        if self.settings.true_guidance_scale == 1:
            return given
        nothing = self.text.encode_text([""]).repeat_interleave(len(prompts))
        return {
            **given,
            "negative_prompt_embeds": states(nothing, T5),
            "negative_pooled_prompt_embeds": pooled(nothing, CLIP),
            "true_cfg_scale": self.settings.true_guidance_scale,
        }
