"""Stable Diffusion 3 and 3.5: two CLIPs and a T5, joined as the pipeline joins them.

Letters: N words, B batch, L tokens, D width of a state, E width of a pooled feature, C, H, W
channels and sides of a latent.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
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
from vwtransfer.words.formats import SD3, SDXL

T5 = SD3[-1]
CLIPS = dict(zip(SDXL, ("text_encoder", "text_encoder_2"), strict=True))


class StableDiffusion3(FlowMatching):
    """A StableDiffusion3Pipeline; `memory_savers` may leave its T5 out.

    Args:
        settings: see `config.models.FlowMatching`.
        device: where it runs.
        cache: keeps the latents of images; None: every process computes them.
    """

    kind = "StableDiffusion3Pipeline"

    def __init__(
        self, settings: config.FlowMatching, device: torch.device, cache: Cache | None = None
    ) -> None:
        self.with_t5 = "without_t5" not in settings.memory_savers
        encoders = [*CLIPS.values(), *(["text_encoder_3"] if self.with_t5 else [])]
        super().__init__(settings, device, cache, encoders)

    @cached_property
    def vocabularies(self) -> Mapping[str, Vocabulary]:
        """The tokenizers of the CLIPs and, unless it is left out, of T5."""
        found = {}
        for name, folder in CLIPS.items():
            tokenizer = load_tokenizer(
                self.text_checkpoint, self.kind, folder.replace("text_encoder", "tokenizer")
            )
            found[name] = of_transformers(tokenizer, tokenizer.model_max_length)
        if self.with_t5:
            checkpoint = self.text_checkpoint
            tokenizer = load_tokenizer(checkpoint, self.kind, "tokenizer_3", "T5TokenizerFast")
            found[T5] = t5_vocabulary(tokenizer, self.settings.prompt_tokens)
        return found

    def load(self) -> Any:
        """See `LatentDiffusion`."""
        from diffusers import AutoencoderKL, SD3Transformer2DModel, StableDiffusion3Pipeline

        parts = {"transformer": SD3Transformer2DModel, "vae": AutoencoderKL}
        left_out = {} if self.with_t5 else {"text_encoder_3": None, "tokenizer_3": None}
        return load_pipeline(
            self.checkpoint,
            StableDiffusion3Pipeline,
            parts,
            dict.fromkeys(parts, self.dtype),
            self.device,
            self.text_encoders,
            **left_out,
        )

    def text_classes(self) -> Mapping[str, type]:
        """See `LatentDiffusion`."""
        from transformers import CLIPTextModelWithProjection, T5EncoderModel

        classes: dict[str, type] = dict.fromkeys(CLIPS.values(), CLIPTextModelWithProjection)
        return classes | ({"text_encoder_3": T5EncoderModel} if self.with_t5 else {})

    @cached_property
    def text(self) -> EmbeddingSpace:
        """The CLIPs' states before their last block and pooled features, and T5's states."""
        encoders = {
            name: clip_encoder(self.vocabularies[name], self.text_encoders[part])
            for name, part in CLIPS.items()
        }
        if self.with_t5:
            encoders[T5] = t5_encoder(self.vocabularies[T5], self.text_encoders["text_encoder_3"])
        return EmbeddingSpace(encoders, self.support, self.name)

    def joined(self, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """The states [N, L, D] and pooled features [N, E] that the transformer reads.

        The CLIPs' states stand side by side, filled up to T5's width; T5's come behind, or zeros
        where it is left out.
        """
        clips_NLD = torch.cat([states(prompts, name) for name in CLIPS], dim=-1)
        pooled_NE = torch.cat([pooled(prompts, name) for name in CLIPS], dim=-1)
        width = self.denoiser.config.joint_attention_dim
        clips_NLD = F.pad(clips_NLD, (0, width - clips_NLD.shape[-1]))
        if self.with_t5:
            t5_NLD = states(prompts, T5)
        else:
            t5_NLD = clips_NLD.new_zeros(len(clips_NLD), self.settings.prompt_tokens, width)
        return torch.cat([clips_NLD, t5_NLD], dim=1), pooled_NE

    def velocity(self, noisy_BCHW: Tensor, times_B: Tensor, prompts: Prompts) -> Tensor:
        """See `FlowMatching`."""
        states_BLD, pooled_BE = self.joined(prompts)
        velocity_BCHW: Tensor = self.denoiser(
            hidden_states=noisy_BCHW,
            timestep=times_B * self.pipeline.scheduler.config.num_train_timesteps,
            encoder_hidden_states=states_BLD,
            pooled_projections=pooled_BE,
        ).sample
        return velocity_BCHW

    def conditions(self, prompts: Prompts) -> Mapping[str, Any]:
        """See `LatentDiffusion`; guidance leads away from nothing."""
        states_NLD, pooled_NE = self.joined(prompts)
        nothing = self.text.encode_text([""]).repeat_interleave(len(prompts))
        no_states_NLD, no_pooled_NE = self.joined(nothing)
        return {
            "prompt_embeds": states_NLD,
            "pooled_prompt_embeds": pooled_NE,
            "negative_prompt_embeds": no_states_NLD,
            "negative_pooled_prompt_embeds": no_pooled_NE,
        }


def clip_encoder(vocabulary: Vocabulary, encoder: Any) -> TextEncoder:
    """A CLIPTextModelWithProjection, read before its last block and at its pooled feature."""

    def forward(ids_NL: Tensor, mask_NL: Tensor | None) -> Encoded:
        given = encoder(input_ids=ids_NL, output_hidden_states=True)
        return Encoded(given.hidden_states[-2], given.text_embeds)

    return TextEncoder(
        vocabulary,
        encoder.get_input_embeddings(),
        forward,
        only_pooled=False,
        blocks=encoder.text_model.encoder.layers,
    )
