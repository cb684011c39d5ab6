"""The text towers of open_clip, for prompts that are cut behind the place where they are read.

Shapes: N words, D embedding width, L tokens, E joint image-text width.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vwtransfer.models.checkpoints import share
from vwtransfer.models.text_encoder import Encoded, Forward
from vwtransfer.models.vocabulary import ReadPosition

READ_POSITIONS: Mapping[str, ReadPosition] = {
    "argmax": "end",
    "eos": "end",
    "last": "last",
    "first": "first",
}


def reading(text_config: Mapping[str, Any]) -> tuple[bool, ReadPosition]:
    """Whether a tower's attention is causal, and where it reads a prompt off.

    Args:
        text_config: `text_cfg` of a checkpoint's open_clip_config.json.

    Raises:
        ValueError: it is read in another way.
    """
    pooling = text_config.get("pool_type", "argmax")
    if pooling not in READ_POSITIONS or text_config.get("hf_model_name"):
        raise ValueError("its text tower is read neither at one token nor by open_clip's own code")
    return not text_config.get("no_causal_mask", False), READ_POSITIONS[pooling]


def load_text_tower(model_config: Mapping[str, Any], weights: Path) -> Any:
    """The text tower of a checkpoint, by open_clip's own class.

    Args:
        model_config: `model_cfg` of its open_clip_config.json.
        weights: the file with the whole model.

    Raises:
        RuntimeError: a tensor is missing or of another shape.
    """
    from open_clip.factory import load_state_dict
    from open_clip.model import _build_text_tower

    with torch.device("meta"):  # no weights are drawn that are overwritten at once
        tower = _build_text_tower(
            model_config["embed_dim"],
            model_config["text_cfg"],
            quick_gelu=model_config.get("quick_gelu", False),
        )
    held = load_state_dict(str(weights))
    start = "text." if "text.positional_embedding" in held else ""
    own = {name: held[start + name] for name in tower.state_dict() if start + name in held}
    tower.load_state_dict(own, assign=True)
    if tower.attn_mask is not None:
        tower.attn_mask = tower.build_causal_mask()
    return tower


def share_text(tower: Any, model: Any) -> None:
    """Lets a whole model read text by a tower that was loaded alone, in place of its own copy.

    Args:
        tower: of `load_text_tower`.
        model: an open_clip CLIP or CustomTextCLIP.
    """
    if hasattr(model, "text"):
        model.text = tower
    else:
        share(tower, model)


def token_embedding(model: Any) -> nn.Embedding:
    """The token embedding of an open_clip CLIP or CustomTextCLIP."""
    embedding: nn.Embedding = _tower(model).token_embedding
    return embedding


def text_blocks(model: Any) -> nn.ModuleList:
    """The blocks of the text tower, in their order."""
    blocks: nn.ModuleList = _tower(model).transformer.resblocks
    return blocks


def text_forward(model: Any, compiled: bool) -> Forward:
    """What gives unit text features [N, E] for ids [N, L], as `model.encode_text` does.

    Raises:
        ValueError: the tower does not pool at one token, or attends to what is none.
    """
    tower = _tower(model)
    pooling = getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", None)
    plain = getattr(tower, "cls_emb", None) is None and not getattr(tower, "use_pad_mask", False)
    if not (plain and pooling in READ_POSITIONS and hasattr(tower, "attn_mask")):
        raise ValueError("its text tower is none of CLIP's or SigLIP's kind (pooled at one token)")
    if compiled:
        tower.transformer.compile()
    end_id = getattr(tower, "text_eos_id", None) or getattr(tower, "eos_id", None)
    return lambda ids_NL, _mask: Encoded(pooled_NE=_encode_text(tower, ids_NL, pooling, end_id))


def _tower(model: Any) -> Any:
    """CLIP holds its text tower in itself; CustomTextCLIP has it apart."""
    return getattr(model, "text", model)


def _encode_text(tower: Any, ids_NL: Tensor, pooling: Any, end_id: int | None) -> Tensor:
    """open_clip's own computation with as many positions as there are tokens."""
    from open_clip.transformer import text_global_pool

    L = ids_NL.shape[1]
    dtype = tower.transformer.get_cast_dtype()
    hidden_NLD = tower.token_embedding(ids_NL).to(dtype) + tower.positional_embedding[:L].to(dtype)
    mask_LL = None if tower.attn_mask is None else tower.attn_mask[:L, :L]
    hidden_NLD = tower.transformer(hidden_NLD, attn_mask=mask_LL)
    pooled_ND = text_global_pool(tower.ln_final(hidden_NLD), ids_NL, pooling, eos_token_id=end_id)
    projection = tower.text_projection
    if projection is not None:
        pooled_ND = projection(pooled_ND) if callable(projection) else pooled_ND @ projection
    return F.normalize(pooled_ND, dim=-1)
