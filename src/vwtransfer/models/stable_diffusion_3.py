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

from vwtransfer.models.embedding_space import EmbeddingSpace, Prompts
from vwtransfer.models.flow_matching import T5_KIND, FlowMatching, t5_encoder
from vwtransfer.models.latent_diffusion import embeds
from vwtransfer.models.text_encoder import Encoded, TextEncoder
from vwtransfer.models.vocabulary import Vocabulary
from vwtransfer.words.formats import SD3, SDXL

T5 = SD3[-1]
CLIPS = dict(zip(SDXL, ("text_encoder", "text_encoder_2"), strict=True))


class StableDiffusion3(FlowMatching):
    """A StableDiffusion3Pipeline; `memory_savers` may leave its T5 out."""

    kind, denoiser_kind = "StableDiffusion3Pipeline", "SD3Transformer2DModel"

    @property
    def with_t5(self) -> bool:
        """Whether its T5 is read."""
        return "without_t5" not in self.settings.memory_savers

    @cached_property
    def encoders(self) -> Mapping[str, tuple[str, str]]:
        """The CLIPs and, unless it is left out, T5."""
        clips = {name: (folder, "CLIPTextModelWithProjection") for name, folder in CLIPS.items()}
        return clips | ({T5: ("text_encoder_3", T5_KIND)} if self.with_t5 else {})

    @cached_property
    def options(self) -> Mapping[str, Any]:
        """What the pipeline is told to do without."""
        return {} if self.with_t5 else {"text_encoder_3": None, "tokenizer_3": None}

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
        clips_NLD = torch.cat([prompts.states(name) for name in CLIPS], dim=-1)
        pooled_NE = torch.cat([prompts.pooled(name) for name in CLIPS], dim=-1)
        width = self.denoiser.config.joint_attention_dim
        clips_NLD = F.pad(clips_NLD, (0, width - clips_NLD.shape[-1]))
        if self.with_t5:
            t5_NLD = prompts.states(T5)
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
        nothing = self.text.encode_text([""]).repeat_interleave(len(prompts))
        return embeds(*self.joined(prompts)) | embeds(*self.joined(nothing), "negative_")


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
