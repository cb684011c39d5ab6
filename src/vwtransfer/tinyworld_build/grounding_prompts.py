"""What the tiny Grounding DINO is asked while it learns: names of things, of which some are there.

Letters of shapes: P prompts (image and text), L tokens, O named things that are there, N names.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import torch
from torch import Tensor
from torchvision.ops import box_convert
from transformers import BertTokenizer

from vwtransfer.tinyworld.world import COMBINATIONS, FRAME, INDEX, TINY, Combination
from vwtransfer.tinyworld_build.captions import called, prompt
from vwtransfer.tinyworld_build.pool import Pool

START, END, STOP, PAD = 101, 102, 1012, 0
NAMES = 8  # of a prompt with several
SEVERAL = 0.75  # share of the steps with such prompts; the others ask as words are asked for
BARE = 0.8  # share of names that stand alone, and in no sentence

Span = tuple[int, int]


@dataclass(frozen=True)
class Asked:
    """Prompts of a batch.

    Attributes:
        image_P: the image each is asked of.
        ids_PL: tokens.
        mask_PL: 1: a token, 0: padding.
        prompt_O, token_OL, box_O4: of each thing that is named and there its prompt, its name's
            tokens in it, its box (centre and size, as shares of the frame).
        kind_O: number of its combination.
        prompt_N, token_NL, kind_N: the same of every name.
    """

    image_P: Tensor
    ids_PL: Tensor
    mask_PL: Tensor
    prompt_O: Tensor
    token_OL: Tensor
    box_O4: Tensor
    kind_O: Tensor
    prompt_N: Tensor
    token_NL: Tensor
    kind_N: Tensor

    @property
    def attributes_N3(self) -> Tensor:
        """Colour, pattern and shape of what each name stands for."""
        return torch.tensor([TINY.attributes(COMBINATIONS[i]) for i in self.kind_N.tolist()])


@dataclass
class Asker:
    """Asks for the things of a pool's scenes.

    Attributes:
        pool: the scenes.
        tokenizer: of the names.
    """

    pool: Pool
    tokenizer: BertTokenizer
    _ids: dict[str, list[int]] = field(default_factory=dict)

    def ask(self, rng: Random, rows: Sequence[int]) -> Asked:
        """Prompts for the scenes with these numbers: one with several names, or two with one."""
        several = rng.random() < SEVERAL
        prompts: list[tuple[int, list[Combination]]] = []
        for image, row in enumerate(rows):
            there = [thing.combination for thing in self.pool.scenes[row].things]
            if several:
                names = [*there, *others(rng, there, NAMES - len(there))]
                rng.shuffle(names)
                prompts.append((image, names))
            else:
                prompts += [(image, [n]) for n in (rng.choice(there), *others(rng, there, 1))]
        return self._asked(rng, prompts, rows)

    def _asked(
        self, rng: Random, prompts: Sequence[tuple[int, list[Combination]]], rows: Sequence[int]
    ) -> Asked:
        texts: list[list[int]] = []
        named: list[tuple[int, Span, int]] = []
        found: list[tuple[int, Span, int, Tensor]] = []
        for p, (image, names) in enumerate(prompts):
            boxes = self._boxes(rows[image])
            ids = [START]
            for name in names:
                own = self._read(called(rng, name) if rng.random() < BARE else prompt(rng, name))
                span = (len(ids), len(ids) + len(own))
                ids += [*own, STOP]
                named.append((p, span, INDEX[name]))
                if name in boxes:
                    found.append((p, span, INDEX[name], boxes[name]))
            texts.append([*ids, END])
        length = max(map(len, texts))
        ids_PL = torch.tensor([[*ids, *[PAD] * (length - len(ids))] for ids in texts])
        return Asked(
            image_P=torch.tensor([image for image, _ in prompts]),
            ids_PL=ids_PL,
            mask_PL=(ids_PL != PAD).long(),
            prompt_O=torch.tensor([p for p, _, _, _ in found]),
            token_OL=_places([span for _, span, _, _ in found], length),
            box_O4=torch.stack([box for _, _, _, box in found]),
            kind_O=torch.tensor([kind for _, _, kind, _ in found]),
            prompt_N=torch.tensor([p for p, _, _ in named]),
            token_NL=_places([span for _, span, _ in named], length),
            kind_N=torch.tensor([kind for _, _, kind in named]),
        )

    def _read(self, name: str) -> list[int]:
        if name not in self._ids:
            self._ids[name] = list(self.tokenizer(name, add_special_tokens=False).input_ids)
        return self._ids[name]

    def _boxes(self, row: int) -> dict[Combination, Tensor]:
        """Of each combination of a scene the box: centre and size, as shares of the frame."""
        boxes_T4 = torch.tensor(self.pool.boxes[row]) / FRAME
        centred_T4 = box_convert(boxes_T4, "xyxy", "cxcywh")
        things = self.pool.scenes[row].things
        return {thing.combination: box for thing, box in zip(things, centred_T4, strict=True)}


def others(rng: Random, there: Sequence[Combination], count: int) -> list[Combination]:
    """Combinations that are not there; every second differs from one that is in one attribute."""
    found: list[Combination] = []
    while len(found) < count:
        other = rng.choice(COMBINATIONS)
        if rng.random() < 0.5:
            near, which = rng.choice(there), rng.randrange(3)
            other = Combination(
                rng.choice(TINY.colours) if which == 0 else near.colour,
                rng.choice(TINY.patterns) if which == 1 else near.pattern,
                rng.choice(TINY.shapes) if which == 2 else near.shape,
            )
        if other not in there and other not in found:
            found.append(other)
    return found


def _places(spans: Sequence[Span], length: int) -> Tensor:
    """Whether each of so many tokens is in each span."""
    place_L = torch.arange(length)
    return torch.stack([(place_L >= start) & (place_L < end) for start, end in spans])
