"""Grounding DINO in two halves: what it makes of images and of text apart, and of both together.

Backbone and `input_proj_vision` see no text, BERT sees no image. Then they meet: in the encoder,
and in the choice of the queries. `fused` runs the library's own forward from there.

Shapes: P pairs of an image and a text, L tokens, D width of the model, Q queries, B batch, H and W
of a feature map.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel
from transformers import initialization as init
from transformers.models.grounding_dino.modeling_grounding_dino import (
    SPECIAL_TOKENS,
    GroundingDinoPreTrainedModel,
    generate_masks_with_special_tokens_and_transfer_map,
)

PADDING = 0
"""The class takes this id for padding, whatever the tokenizer says."""


def project_images(model: Any, pixels_BCHW: Tensor, mask_BHW: Tensor) -> list[Tensor]:
    """The maps [B, D, H, W] of each level, as `input_proj_vision` gives them.

    Args:
        model: a GroundingDinoForObjectDetection or MMGroundingDinoForObjectDetection.
        pixels_BCHW: what its image processor makes of images.
        mask_BHW: 1: image, 0: padding.
    """
    inner = model.model
    found = [source for source, _ in inner.backbone.conv_encoder(pixels_BCHW, mask_BHW)]
    own, further = inner.input_proj_vision[: len(found)], inner.input_proj_vision[len(found) :]
    maps = [project(source) for project, source in zip(own, found, strict=True)]
    source = found[-1]
    for project in further:
        source = project(source)
        maps.append(source)
    return maps


class TextTower(GroundingDinoPreTrainedModel):
    """The parts of a GroundingDinoModel or MMGroundingDinoModel that read text, by its names.

    Args:
        config: of the whole model.
    """

    _keys_to_ignore_on_load_unexpected = (".*",)  # all that is not the tower's, without a report

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.text_backbone = AutoModel.from_config(config.text_config, add_pooling_layer=False)
        self.text_projection = nn.Linear(config.text_config.hidden_size, config.d_model)
        self.special_tokens = nn.Buffer(torch.empty(len(SPECIAL_TOKENS)).long(), persistent=False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:  # the library calls it as it loads
        if module is self:
            init.copy_(self.special_tokens, torch.tensor(SPECIAL_TOKENS))
        super()._init_weights(module)


def project_text(tower: Any, ids_NL: Tensor) -> Tensor:
    """States [N, L, D] of the text encoder, as `text_projection` gives them.

    Args:
        tower: a TextTower, or what holds its parts.
        ids_NL: the tokens.
    """
    seen_NLL, position_NL = generate_masks_with_special_tokens_and_transfer_map(
        ids_NL, tower.special_tokens
    )
    states_NLW = tower.text_backbone(
        ids_NL, seen_NLL[:, None], torch.zeros_like(ids_NL), position_NL
    ).last_hidden_state
    states_NLD: Tensor = tower.text_projection(states_NLW)
    return states_NLD


def fused(
    model: Any, maps: Sequence[Tensor], masks: Sequence[Tensor], states_PLD: Tensor, ids_PL: Tensor
) -> Any:
    """The library's output for images and texts that were projected apart.

    Args:
        model: as in `project_images`.
        maps: [P, D, H, W] of each level, filled up where images differ in shape.
        masks: [P, H, W] of each level; False: filled up.
        states_PLD: of `project_text`.
        ids_PL: the tokens.
    """
    with _given(model, maps, masks, states_PLD):
        return model(pixel_values=maps[0], input_ids=ids_PL, attention_mask=(ids_PL != PADDING))


def row_by_row(model: Any) -> None:
    """Lets fusion's attention see one pair of a batch at a time.

    It subtracts the largest weight of the whole batch before a softmax: the same but for rounding,
    which would make a word depend on those beside it.
    """
    for layer in model.model.encoder.layers:
        attention = layer.fusion_layer.attn
        attention.forward = _each_alone(attention.forward)


def _each_alone(forward: Callable[..., Any]) -> Callable[..., Any]:
    def rows(
        vision_features: Tensor,
        text_features: Tensor,
        vision_attention_mask: Tensor,
        text_attention_mask: Tensor,
    ) -> tuple[tuple[Tensor, ...], ...]:
        given = (vision_features, text_features, vision_attention_mask, text_attention_mask)
        found = [forward(*row) for row in zip(*(tensor.split(1) for tensor in given), strict=True)]
        return tuple(
            tuple(map(torch.cat, zip(*pairs, strict=True))) for pairs in zip(*found, strict=True)
        )

    return rows


def sample_in_float32(model: Any) -> None:
    """Lets deformable attention sample its maps in float32.

    On a CPU torch's `grid_sample` gives garbage at the image's border for half types, at times NaN.
    """
    for module in model.modules():
        if type(module).__name__ == "MultiScaleDeformableAttention":
            module.forward = _in_float32(module.forward)


def _in_float32(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def sampled(value: Tensor, *given: Any) -> Tensor:
        found = forward(value.float(), *(_float32(argument) for argument in given))
        return found.to(value.dtype)

    return sampled


def _float32(argument: Any) -> Any:
    floating = isinstance(argument, Tensor) and argument.is_floating_point()
    return argument.float() if floating else argument


@contextmanager
def _given(
    model: Any, maps: Sequence[Tensor], masks: Sequence[Tensor], states_PLD: Tensor
) -> Iterator[None]:
    """The model reads these in place of images and text; its forward is the library's."""
    inner = model.model
    whole = {
        name: getattr(inner, name)
        for name in ("backbone", "input_proj_vision", "text_backbone", "text_projection")
    }
    inner.backbone = _SeenImages(inner.backbone.position_embedding, maps, masks)
    inner.input_proj_vision = nn.ModuleList(nn.Identity() for _ in maps)
    inner.text_backbone, inner.text_projection = _ReadText(states_PLD), nn.Identity()
    try:
        yield
    finally:
        for name, module in whole.items():
            setattr(inner, name, module)


class _SeenImages(nn.Module):
    """Stands for a backbone that has seen its images."""

    def __init__(
        self, position_embedding: nn.Module, maps: Sequence[Tensor], masks: Sequence[Tensor]
    ) -> None:
        super().__init__()
        self.position_embedding = position_embedding
        self.maps, self.masks = maps, masks

    def forward(
        self, _pixels: Tensor, _mask: Tensor
    ) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
        pairs = list(zip(self.maps, self.masks, strict=True))
        return pairs, [self.position_embedding(m, mask).to(m.dtype) for m, mask in pairs]


class _ReadText(nn.Module):
    """Stands for a text encoder that has read its text."""

    def __init__(self, states_PLD: Tensor) -> None:
        super().__init__()
        self.states_PLD = states_PLD

    def forward(self, *_inputs: Any, **_options: Any) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=self.states_PLD)
