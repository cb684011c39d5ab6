"""The second detector, an MM Grounding DINO trained from scratch.

The library initialises for towers that were trained apart, and its loss matches one query to a
thing. From scratch that learns too slowly to wait for. Here every cell of the image's grid
proposes a box too, and a thing belongs to the cell that holds its centre, as with the OWL-v2; cells
and names are aligned before they meet; the decoder's queries are matched by the library's matcher.

Letters of shapes: B batch, P prompts (image and text) of the batch, L tokens, R cells, Q queries,
O named things that are there, N names, D width, E width of the alignment.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_convert, generalized_box_iou_loss
from transformers import (
    BertConfig,
    BertTokenizer,
    ConvNextConfig,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
)
from transformers.loss.loss_grounding_dino import GroundingDinoHungarianMatcher, sigmoid_focal_loss

from vwtransfer.models.grounding_fusion import fused, project_images, project_text
from vwtransfer.tinyworld.world import FRAME, TINY
from vwtransfer.tinyworld_build.contrastive import (
    DEVIATION,
    MEAN,
    PatchHeads,
    attribute_loss,
    normalized,
    patch_targets,
)
from vwtransfer.tinyworld_build.grounding_prompts import Asked, Asker
from vwtransfer.tinyworld_build.pool import Pool
from vwtransfer.tinyworld_build.stage import Chance, Loss
from vwtransfer.tinyworld_build.wordpiece import bert_tokenizer, save_support, vocabulary

CONTEXT = 64  # tokens of a prompt
CELL = 8  # pixels of a side of the finer of two grids
SIDE = FRAME // CELL
WIDTH, TEXT = 96, 96
TEMPERATURE = 0.07
ALPHA = 0.5  # weighs positives against negatives


def build_grounding(seed: int) -> MMGroundingDinoForObjectDetection:
    """A model with random weights that can be trained from scratch."""
    torch.manual_seed(seed)
    config = MMGroundingDinoConfig(
        backbone_config=ConvNextConfig(
            patch_size=4,
            num_stages=2,
            hidden_sizes=[48, 112],
            depths=[2, 3],
            layer_scale_init_value=0.5,
            out_features=["stage2"],
        ),
        text_config=BertConfig(
            vocab_size=len(vocabulary()),
            hidden_size=TEXT,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=4 * TEXT,
            max_position_embeddings=CONTEXT,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
        d_model=WIDTH,
        num_queries=10,
        num_feature_levels=2,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=2 * WIDTH,
        decoder_ffn_dim=2 * WIDTH,
        max_text_len=CONTEXT,
        dropout=0.0,
        fusion_droppath=0.0,
        disable_custom_kernels=True,
    )
    model = MMGroundingDinoForObjectDetection(config)
    model.tie_weights()
    with torch.no_grad():
        for layer in model.model.encoder.layers:
            layer.fusion_layer.vision_param.fill_(0.5)
            layer.fusion_layer.text_param.fill_(0.5)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()
            elif isinstance(module, nn.Linear) and 0 < module.weight.std() < 0.03:
                # the library's 0.02; what starts at zero does so on purpose
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
    return model


class GroundingHeads(nn.Module):
    """Tell what is where from cells, and attributes from names; thrown away after training."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = PatchHeads(WIDTH)
        self.attributes = nn.Linear(WIDTH, sum(TINY.kinds))
        self.cells = nn.Linear(WIDTH, WIDTH)
        self.names = nn.Linear(WIDTH, WIDTH)


def grounding_loss(
    model: MMGroundingDinoForObjectDetection,
    heads: GroundingHeads,
    pool: Pool,
    tokenizer: BertTokenizer,
    batch: int,
) -> Loss:
    """What the detector learns by, on `batch` images; see `grounding_prompts` for what is asked."""
    patches = patch_targets(pool, CELL, FRAME)
    matcher = GroundingDinoHungarianMatcher(class_cost=1.0, bbox_cost=5.0, giou_cost=2.0)
    asker = Asker(pool, tokenizer)

    def loss(chance: Chance) -> Mapping[str, Tensor]:
        rows_B = torch.randint(len(pool.scenes), (batch,), generator=chance.torch)
        asked = asker.ask(chance.python, rows_B.tolist())
        pixels_BCHW = normalized(pool.images_BCHW[rows_B])
        maps = project_images(model, pixels_BCHW, torch.ones_like(pixels_BCHW[:, 0]).long())
        text_PLD = project_text(model.model, asked.ids_PL)
        cells_BRD = maps[0].flatten(2).transpose(1, 2)
        own = [level[asked.image_P] for level in maps]
        masks = [torch.ones_like(level[:, 0], dtype=torch.bool) for level in own]
        out = fused(model, own, masks, text_PLD, asked.ids_PL)
        losses = {
            **_name_losses(heads, cells_BRD, text_PLD, asked),
            **heads.patches.losses(cells_BRD, patches.of(rows_B)),
            **_cell_losses(out, asked),
        }
        for layer in range(model.config.decoder_layers):
            losses |= _query_losses(matcher, _decoded(model, out, asked, layer), asked, layer)
        return losses

    return loss


def _name_losses(
    heads: GroundingHeads, cells_BRD: Tensor, text_PLD: Tensor, asked: Asked
) -> dict[str, Tensor]:
    """InfoNCE of things and the batch's names before they meet, and the names' attributes."""
    weight_NL1 = asked.token_NL[..., None].float()
    name_ND = (text_PLD[asked.prompt_N] * weight_NL1).sum(1) / weight_NL1.sum(1)
    thing_OD = cells_BRD[asked.image_P[asked.prompt_O], _cells(asked)]
    thing_OE = F.normalize(heads.cells(thing_OD), dim=-1)
    similarity_ON = thing_OE @ F.normalize(heads.names(name_ND), dim=-1).T / TEMPERATURE
    same_ON = asked.kind_O[:, None] == asked.kind_N[None]
    right_O = similarity_ON.masked_fill(~same_ON, -torch.inf).logsumexp(1)
    return {
        "contrast": (similarity_ON.logsumexp(1) - right_O).mean(),
        "names": 0.25 * attribute_loss(heads.attributes(name_ND), asked.attributes_N3, TINY.kinds),
    }


def _cells(asked: Asked) -> Tensor:
    """The cell of the finer grid that holds each thing's centre."""
    columns_O, rows_O = (asked.box_O4[:, :2] * SIDE).long().clamp(max=SIDE - 1).unbind(-1)
    return rows_O * SIDE + columns_O


def _cell_losses(out: Any, asked: Asked) -> dict[str, Tensor]:
    """Every cell says what has its centre there, and proposes its box."""
    logits_PRL = out.enc_outputs_class[:, :, : asked.ids_PL.shape[1]]
    at = (asked.prompt_O, _cells(asked))
    truth_PRL = torch.zeros_like(logits_PRL)
    truth_PRL[at] = asked.token_OL.float()
    boxes_O4 = out.enc_outputs_coord_logits[at].sigmoid()
    found = _box_losses(boxes_O4, asked.box_O4)
    return {
        "cells": 2 * _focal(logits_PRL, truth_PRL, asked),
        **{f"cell {name}": value for name, value in found.items()},
    }


def _decoded(
    model: MMGroundingDinoForObjectDetection, out: Any, asked: Asked, layer: int
) -> tuple[Tensor, Tensor]:
    """Logits [P, Q, L] and boxes [P, Q, 4] of a decoder's layer, as the class computes its last."""
    if layer == model.config.decoder_layers - 1:
        return out.logits, out.pred_boxes
    state_PQD = out.intermediate_hidden_states[:, layer]
    before_PQ4 = (
        out.init_reference_points if layer == 0 else out.intermediate_reference_points[:, layer - 1]
    )
    logits_PQL = model.class_embed[layer](
        vision_hidden_state=state_PQD,
        text_hidden_state=out.encoder_last_hidden_state_text,
        text_token_mask=asked.mask_PL.bool(),
    )
    delta_PQ4 = model.bbox_embed[layer](state_PQD)
    return logits_PQL, (delta_PQ4 + torch.special.logit(before_PQ4, eps=1e-5)).sigmoid()


def _query_losses(
    matcher: GroundingDinoHungarianMatcher,
    decoded: tuple[Tensor, Tensor],
    asked: Asked,
    layer: int,
) -> dict[str, Tensor]:
    """Of the queries that the library's matcher gives to things."""
    logits_PQL, boxes_PQ4 = decoded
    own = [(asked.prompt_O == p).nonzero().flatten() for p in range(len(asked.ids_PL))]
    filled = logits_PQL.shape[-1] - asked.ids_PL.shape[1]
    maps = [F.pad(asked.token_OL[o].float(), (0, filled)) for o in own]
    targets = [{"class_labels": torch.arange(len(o)), "boxes": asked.box_O4[o]} for o in own]
    outputs = {"logits": logits_PQL, "pred_boxes": boxes_PQ4, "label_maps": maps}
    matched = matcher(outputs, targets)
    prompt_O = torch.cat([torch.full_like(q, p) for p, (q, _) in enumerate(matched)])
    query_O = torch.cat([q for q, _ in matched])
    thing_O = torch.cat([o[t] for o, (_, t) in zip(own, matched, strict=True)])
    logits_PQL = logits_PQL[..., : asked.ids_PL.shape[1]]
    truth_PQL = torch.zeros_like(logits_PQL)
    truth_PQL[prompt_O, query_O] = asked.token_OL[thing_O].float()
    found = _box_losses(boxes_PQ4[prompt_O, query_O], asked.box_O4[thing_O])
    return {
        f"queries {layer}": 2 * _focal(logits_PQL, truth_PQL, asked),
        **{f"query {layer} {name}": value for name, value in found.items()},
    }


def _focal(logits_PRL: Tensor, truth_PRL: Tensor, asked: Asked) -> Tensor:
    """The library's token-wise focal loss over tokens that are no padding."""
    read_PRL = asked.mask_PL[:, None].bool().expand_as(logits_PRL)
    count = len(asked.box_O4)
    value: Tensor = sigmoid_focal_loss(logits_PRL[read_PRL], truth_PRL[read_PRL], count, ALPHA)
    return value


def _box_losses(boxes_O4: Tensor, truth_O4: Tensor) -> dict[str, Tensor]:
    corners = (box_convert(boxes, "cxcywh", "xyxy") for boxes in (boxes_O4, truth_O4))
    return {
        "box": 5 * (boxes_O4 - truth_O4).abs().sum(-1).mean(),
        "overlap": 2 * generalized_box_iou_loss(*corners, reduction="mean"),
    }


def save_grounding(model: MMGroundingDinoForObjectDetection, folder: Path) -> None:
    """Saves model and processor in float16, as `from_pretrained` reads them."""
    model.half().save_pretrained(folder)
    GroundingDinoProcessor(
        GroundingDinoImageProcessor(
            size={"height": FRAME, "width": FRAME},
            image_mean=list(MEAN),
            image_std=list(DEVIATION),
        ),
        bert_tokenizer(CONTEXT),
    ).save_pretrained(folder)
    save_support(folder)
