"""How an image and a text encoder learn one joint space.

So learn the judge, the classifier, and the generator's text encoder before its UNet joins it.

Letters of shapes: B batch, C colour channels, L tokens, P image patches, E joint width, W width of
a patch's state, K things of a scene.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPModel, PreTrainedTokenizerBase, SiglipModel

from vwtransfer.tinyworld.world import (
    FRAME,
    TINY,
    Combination,
    Layout,
    Setting,
    World,
    setting_of,
)
from vwtransfer.tinyworld_build.captions import SETTING_SHARE, caption, prompt
from vwtransfer.tinyworld_build.pool import Pool, draw_pool
from vwtransfer.tinyworld_build.stage import Chance, Loss
from vwtransfer.tinyworld_build.stages import Build

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
CELLS = 4  # sub-cells of a patch, each way


@dataclass(frozen=True)
class Towers:
    """The two encoders of a model, whatever its library.

    Attributes:
        image: pixels_BCHW -> (features_BE, patches_BPW).
        text: ids_BL -> features_BE.
        patch: side of a patch in pixels.
        pixels: side of the images.
    """

    image: Callable[[Tensor], tuple[Tensor, Tensor]]
    text: Callable[[Tensor], Tensor]
    patch: int
    pixels: int


Contrast = Callable[[Tensor, Tensor], Tensor]
"""The loss of cosines [B, B], scenes by captions; and where captions are no negatives [B, B]."""


@dataclass(frozen=True)
class PatchTargets:
    """What lies under each patch of each image.

    Attributes:
        attributes_BP3: of the thing at the patch's centre; -1 where there is none.
        outline_BPM: whether there is a thing at each of the patch's M = 16 sub-cells.
        place_BP3: the patch's centre relative to the thing's, in its radii, and the radius
            in tenths of the frame.
    """

    attributes_BP3: Tensor
    outline_BPM: Tensor
    place_BP3: Tensor

    def of(self, rows_B: Tensor) -> "PatchTargets":
        """The targets of some of the images."""
        return PatchTargets(
            self.attributes_BP3[rows_B], self.outline_BPM[rows_B], self.place_BP3[rows_B]
        )


class PatchHeads(nn.Module):
    """Tells from the states of patches what lies under them; thrown away after training."""

    def __init__(self, patch: int, world: World = TINY) -> None:
        super().__init__()
        self.kinds = world.kinds
        self.patches = nn.Linear(patch, sum(self.kinds))
        self.outline = nn.Linear(patch, CELLS * CELLS)
        self.place = nn.Linear(patch, 3)

    def losses(self, patches_BPW: Tensor, targets: PatchTargets) -> dict[str, Tensor]:
        """Losses of the patch states against what lies under the patches."""
        covered_BP = targets.attributes_BP3[..., 0] >= 0
        error_N3 = (self.place(patches_BPW) - targets.place_BP3)[covered_BP]
        return {
            "patch attributes": 0.5
            * attribute_loss(self.patches(patches_BPW), targets.attributes_BP3, self.kinds),
            "outline": F.binary_cross_entropy_with_logits(
                self.outline(patches_BPW), targets.outline_BPM.float()
            ),
            "place": F.smooth_l1_loss(error_N3, torch.zeros_like(error_N3)),
        }


class AttributeHeads(nn.Module):
    """Tells what is where from features and patch states; thrown away after training.

    Colour and pattern are learned at once, shape late: an image tower finds shapes sooner when its
    patches also have to tell the outline of a thing and where on the thing they lie.
    """

    def __init__(self, joint: int, patch: int, world: World = TINY) -> None:
        super().__init__()
        self.kinds = (*world.kinds, *world.setting_kinds)
        self.features = nn.Linear(joint, sum(self.kinds))
        self.patches = PatchHeads(patch, world)

    def loss(self, features_BE: Tensor, attributes_BK: Tensor) -> Tensor:
        """How badly features of unit length tell attributes; a negative one is left out."""
        return attribute_loss(self.features(8 * features_BE), attributes_BK, self.kinds)


def normalized(images_BCHW: Tensor) -> Tensor:
    """uint8 images as CLIP's processors hand them to the model."""
    mean = torch.tensor(MEAN).view(3, 1, 1)
    deviation = torch.tensor(DEVIATION).view(3, 1, 1)
    return (images_BCHW.float() / 255 - mean) / deviation


def towers(model: CLIPModel | SiglipModel) -> Towers:
    """The encoders of a model of transformers; a CLIPModel's first state is no patch's."""
    first = int(isinstance(model, CLIPModel))

    def image(pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        out = model.get_image_features(pixel_values=pixels_BCHW)
        return out.pooler_output, out.last_hidden_state[:, first:]

    def text(ids_BL: Tensor) -> Tensor:
        features_BE: Tensor = model.get_text_features(input_ids=ids_BL).pooler_output
        return features_BE

    vision = model.config.vision_config
    return Towers(image, text, vision.patch_size, vision.image_size)


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> Tensor:
    """ids_BL, padded to the tokenizer's length."""
    ids_BL: Tensor = tokenizer(
        texts, padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    return ids_BL


def attribute_loss(logits: Tensor, attributes: Tensor, kinds: Sequence[int]) -> Tensor:
    """Mean cross-entropy of attributes: colour, pattern and shape, and what a setting has.

    Args:
        logits: [..., the sum of kinds].
        attributes: [..., their number]; a negative entry is left out.
        kinds: how many values each has.
    """
    parts = logits.split(list(kinds), dim=-1)
    losses = [
        F.cross_entropy(part.flatten(0, -2), attributes[..., i].flatten(), ignore_index=-1)
        for i, part in enumerate(parts)
        if (attributes[..., i] >= 0).any()
    ]
    return torch.stack(losses).mean()


def patch_targets(pool: Pool, patch: int, pixels: int) -> PatchTargets:
    """What lies under the patches of a pool's images, when these are resized to `pixels`."""
    side = pixels // patch
    axis = (torch.arange(side) + 0.5) * FRAME / side
    attributes = torch.full((len(pool.scenes), side, side, 3), -1)
    place = torch.zeros(len(pool.scenes), side, side, 3)
    for row, scene in enumerate(pool.scenes):
        for thing in scene.things:
            dx = ((axis - thing.x) / thing.radius).expand(side, side)
            dy = ((axis - thing.y) / thing.radius)[:, None].expand(side, side)
            on = torch.hypot(dx, dy) < 1
            attributes[row, on] = torch.tensor(pool.world.attributes(thing.combination))
            radius = torch.full_like(dx, 10 * thing.radius / FRAME)
            place[row, on] = torch.stack((dx, dy, radius), dim=-1)[on]
    outline = F.pixel_unshuffle(_grid(pool.covered_BHW, side * CELLS), CELLS)
    return PatchTargets(
        attributes.flatten(1, 2), outline.flatten(2).transpose(1, 2), place.flatten(1, 2)
    )


def info_nce(log_scale: Tensor) -> Contrast:
    """CLIP's loss; the logarithm of the inverse temperature learns."""

    def contrast(cosine_BB: Tensor, same_BB: Tensor) -> Tensor:
        return two_way_entropy(log_scale.exp().clamp(max=100) * cosine_BB, same_BB)

    return contrast


def two_way_entropy(logits_BB: Tensor, same_BB: Tensor) -> Tensor:
    """Cross-entropy of captions given scenes and of scenes given captions."""
    logits_BB = logits_BB.masked_fill(same_BB, -math.inf)
    diagonal_B = torch.arange(len(logits_BB))
    return (F.cross_entropy(logits_BB, diagonal_B) + F.cross_entropy(logits_BB.T, diagonal_B)) / 2


def same_kind(kinds_B: Tensor) -> Tensor:
    """Where two of a batch are of one combination, and so no negatives of each other [B, B]."""
    return (kinds_B[:, None] == kinds_B[None, :]).fill_diagonal_(False)


def contrastive_loss(
    towers: Towers,
    contrast: Contrast,
    heads: AttributeHeads,
    pool: Pool,
    tokenizer: PreTrainedTokenizerBase,
    batch: int,
) -> Loss:
    """The contrast of scenes and captions, and the attribute losses that speed it up.

    Captions of the same combination are no negatives of each other.
    """
    world = pool.world
    combinations = torch.tensor([world.index[scene.things[0].combination] for scene in pool.scenes])
    seen_MK = torch.tensor(
        [attributes(each.things[0].combination, setting_of(each), world) for each in pool.scenes]
    )
    things = len(world.kinds)
    patches = patch_targets(pool, towers.patch, towers.pixels)

    def loss(chance: Chance) -> Mapping[str, Tensor]:
        rows_B = torch.randint(len(pool.scenes), (batch,), generator=chance.torch)
        texts: list[str] = []
        said_BK = seen_MK[rows_B].clone()
        for row_K, scene in zip(said_BK, (pool.scenes[i] for i in rows_B.tolist()), strict=True):
            if world.speaks_of_settings and chance.python.random() < SETTING_SHARE:
                texts.append(prompt(chance.python, None, world, setting_of(scene)))
                row_K[:things] = -1
            else:
                texts.append(caption(chance.python, scene, world=world))
                row_K[things:] = -1
        image_BE, patch_BPW = towers.image(normalized(pool.images_BCHW[rows_B]))
        text_BE = towers.text(token_ids(tokenizer, texts))
        image_BE, text_BE = F.normalize(image_BE, dim=-1), F.normalize(text_BE, dim=-1)
        return {
            "contrast": contrast(image_BE @ text_BE.T, same_kind(combinations[rows_B])),
            "image attributes": 0.5 * heads.loss(image_BE, seen_MK[rows_B]),
            "text attributes": 0.25 * heads.loss(text_BE, said_BK),
            **heads.patches.losses(patch_BPW, patches.of(rows_B)),
        }

    return loss


def learn_towers(
    build: Build,
    stage: str,
    model: nn.Module,
    towers: Towers,
    contrast: Contrast,
    heads: AttributeHeads,
    tokenizer: PreTrainedTokenizerBase,
    save: Callable[[Path], None],
    coarse: int | None = None,
    world: World = TINY,
) -> float:
    """A stage in which both encoders of a model learn one space; seconds its steps took.

    Args:
        build: what the stage belongs to.
        stage: its name, and that of the model's folder.
        model: what learns, beside the heads.
        towers: its encoders.
        contrast: the loss of cosines.
        heads: what tells attributes from features.
        tokenizer: the model's.
        save: writes the trained model into a folder.
        coarse: see `draw_pool`.
        world: what is seen and said.
    """
    recipe = build.recipes[stage]
    pool = draw_pool(stage, recipe.pool, Layout(), towers.pixels, coarse, world)
    loss = contrastive_loss(towers, contrast, heads, pool, tokenizer, recipe.batch)
    seconds = build.learn(stage, {"model": model, "heads": heads}, loss)
    build.publish(stage, save)
    return seconds


def attributes(thing: Combination, setting: Setting | None, world: World) -> tuple[int, ...]:
    """Of a thing and, where the world has words for it, of its setting; None: it has none, -1."""
    found = world.attributes(thing)
    if not world.speaks_of_settings:
        return found
    return (*found, *([-1] * 4 if setting is None else world.setting_attributes(setting)))


def _grid(covered_BHW: Tensor, side: int) -> Tensor:
    """Whether most of each cell of a side x side grid is covered, B 1 side side."""
    parts = [
        F.adaptive_avg_pool2d(part[:, None].float(), side) > 0.5 for part in covered_BHW.split(4096)
    ]
    return torch.cat(parts).to(torch.uint8)
