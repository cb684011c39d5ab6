"""The text towers of open_clip, for prompts that are cut behind their end-of-text token.

Shapes: N words, D embedding width, L tokens, E joint image-text width.
"""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


def token_embedding(model: Any) -> nn.Embedding:
    """The token embedding of an open_clip CLIP or CustomTextCLIP."""
    embedding: nn.Embedding = _tower(model).token_embedding
    return embedding


def text_blocks(model: Any) -> nn.ModuleList:
    """The blocks of the text tower, in their order."""
    blocks: nn.ModuleList = _tower(model).transformer.resblocks
    return blocks


def text_forward(model: Any, compiled: bool) -> Callable[[Tensor], Tensor]:
    """What gives unit text features [N, E] for ids [N, L], as `model.encode_text` does.

    Raises:
        ValueError: the tower is none of CLIP's kind: not causal, or not pooled at the end of text.
    """
    tower = _tower(model)
    pooling = getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", None)
    causal = getattr(tower, "attn_mask", None) is not None
    of_end = pooling in ("argmax", "eos") and getattr(tower, "cls_emb", None) is None
    if not (causal and of_end):
        raise ValueError("its text tower is none of CLIP's kind (causal, pooled at the end token)")
    if compiled:
        tower.transformer.compile()
    end_id = getattr(tower, "text_eos_id", None) or getattr(tower, "eos_id", None)
    return lambda ids_NL: _encode_text(tower, ids_NL, pooling, end_id)


def _tower(model: Any) -> Any:
    """CLIP holds its text tower in itself; CustomTextCLIP has it apart."""
    return getattr(model, "text", model)


def _encode_text(tower: Any, ids_NL: Tensor, pooling: Any, end_id: int | None) -> Tensor:
    """open_clip's own computation with as many positions as there are tokens."""
    from open_clip.transformer import text_global_pool

    L = ids_NL.shape[1]
    dtype = tower.transformer.get_cast_dtype()
    hidden_NLD = tower.token_embedding(ids_NL).to(dtype) + tower.positional_embedding[:L].to(dtype)
    hidden_NLD = tower.transformer(hidden_NLD, attn_mask=tower.attn_mask[:L, :L])
    pooled_ND = text_global_pool(tower.ln_final(hidden_NLD), ids_NL, pooling, eos_token_id=end_id)
    projection = tower.text_projection
    if projection is not None:
        pooled_ND = projection(pooled_ND) if callable(projection) else pooled_ND @ projection
    return F.normalize(pooled_ND, dim=-1)
