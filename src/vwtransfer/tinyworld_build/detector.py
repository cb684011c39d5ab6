"""The detector, an OWL-v2 trained from scratch.

Every cell of the image's grid predicts one box. A thing belongs to the cell that holds its centre,
so that no matching is needed.

Letters of shapes: B batch, R cells (regions) of an image, Q queries, O things of the batch,
E joint width, W width of a cell's state.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_convert, generalized_box_iou_loss
from transformers import (
    CLIPTokenizer,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    Owlv2Processor,
)

from vwtransfer.tinyworld.world import FRAME, Combination, Setting, World, setting_of
from vwtransfer.tinyworld_build.captions import prompt
from vwtransfer.tinyworld_build.clips import PATCH, text_config, vision_config
from vwtransfer.tinyworld_build.contrastive import (
    DEVIATION,
    MEAN,
    AttributeHeads,
    attributes,
    normalized,
    patch_targets,
    token_ids,
)
from vwtransfer.tinyworld_build.pool import Pool
from vwtransfer.tinyworld_build.stage import Chance, Loss
from vwtransfer.tinyworld_build.tokenizer import save_tokenizer, tokenizer

SIDE = FRAME // PATCH
TEMPERATURE = 0.07
QUERIES = 48  # of a batch
SETTING_SHARE, BOTH_SHARE = 0.25, 0.15  # of queries for what is in a setting, and for a thing there


def build_detector(
    seed: int, text: int, image: int, words: CLIPTokenizer
) -> Owlv2ForObjectDetection:
    """An OWL-v2 with random weights that can be trained from scratch.

    The library initialises for fine-tuning a trained tower: its heads start near zero and its
    logits at a probability of one half everywhere, from where nothing is learned.

    Args:
        seed: of the weights.
        text: width of the text tower, and of the joint space.
        image: width of the image tower.
        words: its tokenizer.
    """
    torch.manual_seed(seed)
    config = Owlv2Config(
        text_config={**text_config(text, 3, words), "model_type": "owlv2_text_model"},
        vision_config={**vision_config(image, FRAME), "hidden_act": "quick_gelu"},
        projection_dim=text,
    )
    model = Owlv2ForObjectDetection(config)
    for head in (model.class_head, model.box_head, model.objectness_head):
        for module in head.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                nn.init.zeros_(module.bias)
    last = (
        model.class_head.logit_shift,
        model.class_head.logit_scale,
        model.box_head.dense2,
        model.objectness_head.dense2,
    )
    with torch.no_grad():
        for module in last:
            module.weight *= 0.1
        model.class_head.logit_scale.bias.fill_(9.0)
        model.class_head.logit_shift.bias.fill_(-0.35)
        embeddings = model.owlv2.vision_model.embeddings
        nn.init.normal_(embeddings.position_embedding.weight, std=0.1)
        embeddings.patch_embedding.reset_parameters()
    return model


def _targets(pool: Pool) -> tuple[list[Tensor], list[Tensor]]:
    """For each scene the cells_O of its things and their boxes_O4, as fractions of the frame."""
    cells, boxes = [], []
    for found in pool.boxes:
        boxes_O4 = torch.tensor(found) / FRAME
        centres_O2 = (boxes_O4[:, :2] + boxes_O4[:, 2:]) / 2
        columns_O, rows_O = (centres_O2 * SIDE).long().clamp(max=SIDE - 1).unbind(-1)
        cells.append(rows_O * SIDE + columns_O)
        boxes.append(boxes_O4)
    return cells, boxes


def detection_loss(
    model: Owlv2ForObjectDetection,
    heads: AttributeHeads,
    pool: Pool,
    words: CLIPTokenizer,
    batch: int,
) -> Loss:
    """What the detector learns by: things of the batch are queries to all its images."""
    cells, boxes = _targets(pool)
    patches = patch_targets(pool, PATCH, FRAME)
    world = pool.world

    def loss(chance: Chance) -> Mapping[str, Tensor]:
        rows = torch.randint(len(pool.scenes), (batch,), generator=chance.torch)
        scenes = [pool.scenes[i] for i in rows.tolist()]
        things = [thing.combination for scene in scenes for thing in scene.things]
        places = [
            (setting_of(scene), thing is scene.things[0])
            for scene in scenes
            for thing in scene.things
        ]
        kinds_O = torch.tensor([world.index[c] for c in things])
        image_O = torch.repeat_interleave(
            torch.arange(batch), torch.tensor([len(scene.things) for scene in scenes])
        )
        cell_O = torch.cat([cells[i] for i in rows.tolist()])
        box_O4 = torch.cat([boxes[i] for i in rows.tolist()])
        # A combination asked for twice would be asked for by two names: one is enough.
        kinds_Q, first = _unique(kinds_O, QUERIES)
        asked = [_asked(chance, things[i], places[i], world) for i in first]
        names = [prompt(chance.python, thing, world, setting) for thing, setting in asked]
        ids_QL = token_ids(words, names)
        query_QE = model.owlv2.get_text_features(ids_QL, torch.ones_like(ids_QL)).pooler_output

        feature_map, vision = model.image_embedder(normalized(pool.images_BCHW[rows]))
        state_BRW = feature_map.flatten(1, 2)
        logits_BRQ, embeds_BRE = model.class_predictor(
            state_BRW, query_QE.expand(batch, -1, -1), None
        )
        boxes_BR4 = model.box_predictor(state_BRW, feature_map)
        objectness_BR = model.objectness_predictor(state_BRW)

        asked_OQ = kinds_O[:, None] == kinds_Q[None, :]
        if world.speaks_of_settings:
            asked_OQ = _answers(asked, things, places)
        truth_BRQ = torch.zeros_like(logits_BRQ)
        truth_BRQ[image_O, cell_O] = asked_OQ.float()
        thing_BR = torch.zeros_like(objectness_BR)
        thing_BR[image_O, cell_O] = 1.0
        embeds_OE = F.normalize(embeds_BRE[image_O, cell_O], dim=-1)
        similarity_OQ = embeds_OE @ F.normalize(query_QE, dim=-1).T
        column_O = torch.where(asked_OQ.any(-1), asked_OQ.long().argmax(-1), -1)
        rest_OQ = asked_OQ & (torch.arange(asked_OQ.shape[1]) != column_O[:, None])
        similarity_OQ = similarity_OQ.masked_fill(rest_OQ, -torch.inf)
        predicted_O4 = box_convert(boxes_BR4[image_O, cell_O], "cxcywh", "xyxy")
        attributes_OK = torch.tensor(
            [
                attributes(thing, setting if is_main else None, world)
                for thing, (setting, is_main) in zip(things, places, strict=True)
            ]
        )
        count = len(things)
        return {
            "focal": _focal(logits_BRQ, truth_BRQ) / count,
            "contrast": F.cross_entropy(similarity_OQ / TEMPERATURE, column_O, ignore_index=-1),
            "box": 5 * (predicted_O4 - box_O4).abs().sum() / count,
            "overlap": 2 * generalized_box_iou_loss(predicted_O4, box_O4, reduction="mean"),
            "objectness": F.binary_cross_entropy_with_logits(objectness_BR, thing_BR),
            "attributes": heads.loss(embeds_OE, attributes_OK),
            **heads.patches.losses(vision.last_hidden_state[:, 1:], patches.of(rows)),
        }

    return loss


Asked = tuple[Combination | None, Setting | None]
"""What a query asks for: a thing, whatever is the main thing in a setting, or both."""


def _asked(chance: Chance, thing: Combination, place: tuple[Setting, bool], world: World) -> Asked:
    """What is asked of a thing; where it is the main one of its scene, its setting now and then."""
    setting, is_main = place
    if not (world.speaks_of_settings and is_main):
        return thing, None
    draw = chance.python.random()
    if draw < SETTING_SHARE:
        return None, setting
    return thing, setting if draw < SETTING_SHARE + BOTH_SHARE else None


def _answers(
    asked: Sequence[Asked], things: Sequence[Combination], places: Sequence[tuple[Setting, bool]]
) -> Tensor:
    """Whether each thing answers each query."""
    return torch.tensor(
        [
            [
                (want in (None, thing)) and (where is None or (is_main and where == setting))
                for want, where in asked
            ]
            for thing, (setting, is_main) in zip(things, places, strict=True)
        ]
    )


def _unique(kinds_O: Tensor, most: int) -> tuple[Tensor, list[int]]:
    """The first different kinds, at most so many, and where each occurs first."""
    seen: dict[int, int] = {}
    for i, kind in enumerate(kinds_O.tolist()):
        if len(seen) < most:
            seen.setdefault(kind, i)
    return torch.tensor(list(seen)), list(seen.values())


def _focal(logits: Tensor, truth: Tensor) -> Tensor:
    """Summed focal loss, in which positives and negatives weigh the same."""
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    wrong = (logits.sigmoid() - truth).abs()
    return (0.5 * wrong**2.0 * entropy).sum()


def save_detector(model: Owlv2ForObjectDetection, folder: Path, whole: tuple[str, ...]) -> None:
    """Saves model and processor in float16, as `from_pretrained` reads them."""
    model.half().save_pretrained(folder)
    Owlv2Processor(
        Owlv2ImageProcessor(
            size={"height": FRAME, "width": FRAME},
            image_mean=list(MEAN),
            image_std=list(DEVIATION),
        ),
        tokenizer(whole),
    ).save_pretrained(folder)
    save_tokenizer(folder, whole)
