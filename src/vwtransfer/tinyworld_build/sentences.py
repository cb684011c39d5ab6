"""How the generator's text encoder learns what captions mean, before the UNet joins it.

It is contrasted, like CLIP's, with what the captions are about. Here that is not an image but the
scene's own facts, which an image tower would only have to find out first.

Letters of shapes: B batch, L tokens, E joint width, F numbers that describe a scene.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from vwtransfer.tinyworld.world import FRAME, INDEX, TINY, Scene
from vwtransfer.tinyworld_build.captions import caption
from vwtransfer.tinyworld_build.clips import text_config
from vwtransfer.tinyworld_build.contrastive import attribute_loss, same_kind, two_way_entropy
from vwtransfer.tinyworld_build.stage import Chance, Loss

TEXT_WIDTH = 96
JOINT = 96
KINDS = TINY.kinds
FACTS = 2 * sum(KINDS) + len(TINY.backgrounds) + 1


def build_text_encoder(
    seed: int,
    width: int,
    words: CLIPTokenizer | None = None,
    kind: type[CLIPTextModel] | type[CLIPTextModelWithProjection] = CLIPTextModel,
) -> Any:
    """A generator's text encoder with random weights.

    Args:
        seed: of the weights.
        width: of its states, and of a projection where it has one.
        words: its tokenizer; None: the shared one.
        kind: its class.
    """
    torch.manual_seed(seed)
    return kind(CLIPTextConfig(**text_config(width, 3, words), projection_dim=width))


class SceneReader(nn.Module):
    """Maps scenes and captions into one space; thrown away after training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scene = nn.Sequential(nn.Linear(FACTS, 192), nn.GELU(), nn.Linear(192, JOINT))
        self.sentence = nn.Linear(width, JOINT, bias=False)
        self.attributes = nn.Linear(width, sum(KINDS))
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))


def scene_facts(scenes: Sequence[Scene]) -> Tensor:
    """facts_BF: attributes of the first two things, background and size of the main thing."""
    facts_BF = torch.zeros(len(scenes), FACTS)
    starts = (0, KINDS[0], KINDS[0] + KINDS[1])
    for row, scene in zip(facts_BF, scenes, strict=True):
        for i, thing in enumerate(scene.things[:2]):
            for start, attribute in zip(starts, TINY.attributes(thing.combination), strict=True):
                row[i * sum(KINDS) + start + attribute] = 1
        row[2 * sum(KINDS) + TINY.backgrounds.index(scene.background)] = 1
        row[-1] = 4 * scene.things[0].radius / FRAME
    return facts_BF


def sentence_loss(
    read: Callable[[list[str]], Tensor],
    reader: SceneReader,
    scenes: Sequence[Scene],
    batch: int,
) -> Loss:
    """InfoNCE between captions and scenes, and the attributes of what a caption names.

    Args:
        read: captions -> the text encoder's feature of each.
        reader: maps features and scenes into one space.
        scenes: what captions are about.
        batch: captions a step.
    """
    facts = scene_facts(scenes)
    kinds = torch.tensor([INDEX[scene.things[0].combination] for scene in scenes])
    attributes = torch.tensor([TINY.attributes(scene.things[0].combination) for scene in scenes])

    def loss(chance: Chance) -> Mapping[str, Tensor]:
        rows_B = torch.randint(len(scenes), (batch,), generator=chance.torch)
        texts = [caption(chance.python, scenes[i], others=1.0) for i in rows_B.tolist()]
        pooled = read(texts)
        text_BE = F.normalize(reader.sentence(pooled), dim=-1)
        scene_BE = F.normalize(reader.scene(facts[rows_B]), dim=-1)
        logits_BB = reader.scale.exp().clamp(max=100) * scene_BE @ text_BE.T
        return {
            "contrast": two_way_entropy(logits_BB, same_kind(kinds[rows_B])),
            "attributes": 0.5
            * attribute_loss(reader.attributes(pooled), attributes[rows_B], KINDS),
        }

    return loss
