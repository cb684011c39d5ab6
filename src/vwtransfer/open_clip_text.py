"""The text towers of open_clip, for prompts that are cut behind their end-of-text token.

Shapes: N words, D embedding width, L tokens, E joint image-text width.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def token_embedding(model: Any) -> nn.Embedding:
    """The token embedding of an open_clip CLIP or CustomTextCLIP."""
    embedding: nn.Embedding = _tower(model).token_embedding
    return embedding


def text_forward(model: Any, compiled: bool) -> Callable[[Tensor], Tensor]:
    """What gives unit text features [N, E] for ids [N, L], as `model.encode_text` does.

    Raises:
        ValueError: the tower is none of CLIP's kind: not causal, or not pooled at the end of text.
    """
    tower = _tower(model)
    pooling = tower.text_pool_type if tower is model else getattr(tower, "pool_type", None)
    if getattr(tower, "attn_mask", None) is None or pooling not in ("argmax", "eos"):
        raise ValueError("its text tower is none of CLIP's kind (causal, pooled at the end token)")
    if compiled:
        tower.transformer.compile()
    if tower is model:
        return lambda ids_NL: _encode_text(model, ids_NL)
    return lambda ids_NL: F.normalize(tower(ids_NL), dim=-1)


def _tower(model: Any) -> Any:
    """CLIP holds its text tower in itself; CustomTextCLIP has it apart, fit for cut prompts."""
    return getattr(model, "text", model)


def _encode_text(model: Any, ids_NL: Tensor) -> Tensor:
    """CLIP.encode_text with as many positions as there are tokens."""
    L = ids_NL.shape[1]
    dtype = model.transformer.get_cast_dtype()
    hidden_NLD = model.token_embedding(ids_NL).to(dtype) + model.positional_embedding[:L].to(dtype)
    hidden_NLD = model.transformer(hidden_NLD, attn_mask=model.attn_mask[:L, :L])
    hidden_NLD = model.ln_final(hidden_NLD)
    end_N = ids_NL.argmax(dim=-1)  # the end-of-text token has the largest id
    pooled_ND = hidden_NLD[torch.arange(len(ids_NL), device=ids_NL.device), end_N]
    projection = model.text_projection
    features_NE = projection(pooled_ND) if callable(projection) else pooled_ND @ projection
    return F.normalize(features_NE, dim=-1)
