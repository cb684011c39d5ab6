"""Training images: scenes drawn once per stage, around every combination equally often."""

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vwtransfer.tinyworld.renderer import Box, render
from vwtransfer.tinyworld.world import TINY, Layout, Scene, World, sample_scene

CHUNK = 256


@dataclass(frozen=True)
class Pool:
    """Scenes, their images_BCHW (uint8), the boxes of their things, and the pixels these cover."""

    scenes: list[Scene]
    images_BCHW: Tensor
    boxes: list[list[Box]]
    covered_BHW: Tensor
    world: World = TINY


def sample_scenes(purpose: str, size: int, layout: Layout, world: World = TINY) -> list[Scene]:
    """Scenes whose chance comes from the purpose and their number, and so never from a dataset."""
    mains = world.combinations
    return [
        sample_scene(
            random.Random(f"pool {purpose} {i}"), mains[i % len(mains)], layout, world=world
        )
        for i in range(size)
    ]


def draw_pool(
    purpose: str,
    size: int,
    layout: Layout,
    pixels: int,
    coarse: int | None = None,
    world: World = TINY,
) -> Pool:
    """Draws a pool.

    Args:
        purpose: names the pool; pools of other names hold other scenes.
        size: number of scenes.
        layout: how they are laid out.
        pixels: side the images are resized to.
        coarse: every second image first goes through this side, and comes out soft.
        world: what the scenes are of.
    """
    scenes = sample_scenes(purpose, size, layout, world)
    images, boxes, covered = [], [], []
    for start in range(0, size, CHUNK):
        drawing = render(scenes[start : start + CHUNK])
        images_BCHW = drawing.images_BCHW
        resized_BCHW = resized(images_BCHW, pixels)
        if coarse is not None:
            resized_BCHW[::2] = resized(resized(images_BCHW[::2], coarse), pixels)
        images.append(resized_BCHW)
        boxes += drawing.boxes
        covered.append(drawing.covered_BHW)
    return Pool(scenes, torch.cat(images), boxes, torch.cat(covered), world)


def resized(images_BCHW: Tensor, pixels: int) -> Tensor:
    """uint8 images at another side, as the libraries' processors resize: bicubic, antialiased."""
    if images_BCHW.shape[-1] == pixels:
        return images_BCHW
    return (
        F.interpolate(images_BCHW.float(), (pixels, pixels), mode="bicubic", antialias=True)
        .clamp(0, 255)
        .round()
        .to(torch.uint8)
    )
