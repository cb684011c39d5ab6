"""What SD 3.5 and FLUX.1 share: flow matching, and a T5 among their text encoders.

Letters: N words, D embedding width, B batch, L tokens, C, H, W channels and sides of a latent.
"""

from abc import abstractmethod
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vwtransfer.config import models as config
from vwtransfer.models.embedding_space import Prompts
from vwtransfer.models.latent_diffusion import LatentDiffusion
from vwtransfer.models.pipelines import load_tokenizer
from vwtransfer.models.text_encoder import Encoded, TextEncoder
from vwtransfer.models.vocabulary import Vocabulary, of_transformers

T5_KIND = "T5EncoderModel"


class FlowMatching(LatentDiffusion):
    """A transformer that predicts the velocity from an image's latent to noise.

    On the way at sigma the latent is (1 - sigma) latent + sigma noise, and its velocity is noise -
    latent (Esser et al., 2024, "Scaling rectified flow transformers", section 2).
    """

    denoiser_name, denoiser_kind = "transformer", "FluxTransformer2DModel"
    settings: config.FlowMatching

    def vocabulary_of(self, folder: str, kind: str) -> Vocabulary:
        """See `LatentDiffusion`; a T5's states are read wherever they are: it is never cut."""
        if kind != T5_KIND:
            return super().vocabulary_of(folder, kind)
        tokens = folder.replace("text_encoder", "tokenizer")
        tokenizer = load_tokenizer(self.text_checkpoint, self.kind, tokens, "T5TokenizerFast")
        length = self.settings.prompt_tokens
        return of_transformers(tokenizer, length, causal=False, read_position=None)

    @cached_property
    def _sigmas(self) -> Tensor:
        """Of the scheduler's training steps: shifted where it states a shift."""
        from diffusers import FlowMatchEulerDiscreteScheduler

        scheduler = FlowMatchEulerDiscreteScheduler.from_config(self.pipeline.scheduler.config)
        sigmas: Tensor = scheduler.sigmas
        return sigmas

    def times(self, count: int, stream: torch.Generator) -> Tensor:
        """Sigmas [count] of the schedule, by the density that the settings name."""
        if self.settings.time_density == "logit_normal":
            share = torch.randn(count, generator=stream).sigmoid()
        else:
            share = torch.rand(count, generator=stream)
        return self._sigmas[(share * len(self._sigmas)).long()]

    def predicted_and_target(
        self,
        latent_BCHW: Tensor,
        noise_BCHW: Tensor,
        times_B: Tensor,
        prompts: Prompts,
        sizes_B2: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """See `LatentDiffusion`; `loss_weighting` says what is compared.

        With "none" that is the velocity; with "preconditioned" the latent that the predicted
        velocity leads back to, by which an error counts sigma squared times as much.
        """
        sigma = times_B[:, None, None, None]
        noisy_BCHW = (1 - sigma) * latent_BCHW + sigma * noise_BCHW
        velocity_BCHW = self.velocity(noisy_BCHW.to(self.denoiser.dtype), times_B, prompts).float()
        if self.settings.loss_weighting == "preconditioned":
            return noisy_BCHW - sigma * velocity_BCHW, latent_BCHW
        return velocity_BCHW, noise_BCHW - latent_BCHW

    @abstractmethod
    def velocity(self, noisy_BCHW: Tensor, times_B: Tensor, prompts: Prompts) -> Tensor:
        """What the transformer predicts of noisy latents, [B, C, H, W]."""


def t5_encoder(vocabulary: Vocabulary, encoder: Any) -> TextEncoder:
    """A T5EncoderModel; as the pipelines do, it is not told which places are padding."""

    def forward(ids_NL: Tensor, mask_NL: Tensor | None) -> Encoded:
        return Encoded(states_NLD=encoder(input_ids=ids_NL).last_hidden_state)

    return TextEncoder(
        vocabulary,
        encoder.encoder.embed_tokens,
        forward,
        only_pooled=False,
        blocks=encoder.encoder.block,
    )
