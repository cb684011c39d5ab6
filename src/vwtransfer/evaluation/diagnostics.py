"""Why a word may be lost on the way to another model: what its own model says of it beforehand.

DIAGNOSTICS, columns of the results, for trained words:

    outside_table   share of the energy of the word's way from its anchor, v - a, that lies outside
                    the leading principal directions of the table (nine tenths of its energy): there
                    a map between tables is fitted on next to nothing
    far_from_words  distance of its vectors to their nearest vocabulary words, in units of the
                    words' own median distance to their nearest neighbours
    strange_output  distance of its encoded prompt from those of ordinary phrases (Mahalanobis, in
                    units of their root mean square)
    turning_block   first block of the text encoder behind which the end of its prompt is nearer to
                    the prompt of the concept's name than to the anchor's; one more than there are
                    where that never happens (paper, section 6: late)

Letters: N words, K vectors per word, D embedding width, S support, H blocks, F features, B phrases.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from vwtransfer.datasets import Dataset, descriptions_of
from vwtransfer.models.activations import end_of_text
from vwtransfer.results import DIAGNOSTICS
from vwtransfer.tasks import Task
from vwtransfer.training.regularizers import leading_directions
from vwtransfer.transfer.prompts import encoded_phrases, phrases, states
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import WordStore

PHRASES, LONGEST = 2000, 4
SAMPLE = 2000  # words whose distance to their nearest neighbour is looked at
DIGITS = 4  # behind the point; further on, a word's neighbours in a batch show
AT_ONCE = 512  # vectors


@dataclass(frozen=True)
class VocabularyStats:
    """The vocabulary that a task's words lie in; nothing is read before it is asked for.

    Attributes:
        task: in whose model words are trained.
        support: token strings of the vocabulary that counts.
    """

    task: Task
    support: Sequence[str]

    @cached_property
    def table_SD(self) -> Tensor:
        """Rows of the support."""
        return self.task.text.rows(sorted(set(self.support)))

    @cached_property
    def directions_RD(self) -> Tensor:
        """See `leading_directions`."""
        return leading_directions(self.table_SD)

    @cached_property
    def typical(self) -> Tensor:
        """See `typical_distance`."""
        return typical_distance(self.table_SD)


@dataclass(frozen=True)
class Diagnostics:
    """CAUSES of words of one dataset and task; nothing is read before it is asked for.

    Attributes:
        around: what they lie in.
        store: where the words lie.
        dataset: of their concepts, whose descriptions no ordinary phrase may spell out.
    """

    around: VocabularyStats
    store: WordStore
    dataset: Dataset

    _known: dict[Cell, dict[str, float]] = field(default_factory=dict, init=False, repr=False)

    def of(self, cells: Sequence[Cell]) -> list[dict[str, float]]:
        """CAUSES of each word; `turning_block` is left out where the encoder shows no blocks.

        A word is looked at once, however many models it is measured in.
        """
        if new := [cell for cell in dict.fromkeys(cells) if cell not in self._known]:
            self._known.update(zip(new, self._look(new), strict=True))
        return [self._known[cell] for cell in cells]

    @torch.no_grad()
    def _look(self, cells: Sequence[Cell]) -> list[dict[str, float]]:
        around, text, template = self.around, self.around.task.text, self.around.task.template
        vectors_NKD = torch.stack([self.store.load(c, text.width).vectors_KD for c in cells])
        anchor_ND = torch.stack([text.word_row(cell.anchor) for cell in cells])
        device = text.embedding.weight.device
        encoded_NF = states(text, template, vectors_NKD.to(device))[:, 0].cpu()
        found = {
            "outside_table": outside(vectors_NKD, anchor_ND, around.directions_RD),
            "far_from_words": distance(vectors_NKD, around.table_SD) / around.typical,
            "strange_output": strange_output(encoded_NF, self._ordinary_BF),
        }
        if text.blocks is not None:
            names = [self.dataset.concepts[cell.concept] for cell in cells]
            of_name = {
                name: end_of_text(text, template, text.name_rows(name)[None])
                for name in dict.fromkeys(names)
            }
            found["turning_block"] = turning_block(
                end_of_text(text, template, vectors_NKD),
                end_of_text(text, template, anchor_ND[:, None]),
                torch.cat([of_name[name] for name in names], dim=1),
            )
        return [
            {
                cause: round(float(found[cause][n]), DIGITS)
                for cause in DIAGNOSTICS
                if cause in found
            }
            for n in range(len(cells))
        ]

    @cached_property
    def _ordinary_BF(self) -> Tensor:
        excluded, task = descriptions_of(self.dataset), self.around.task
        chosen = phrases(self.around.support, PHRASES, LONGEST, excluded)
        return encoded_phrases(task.text, task.template, chosen)[:, 0].cpu()


def outside(vectors_NKD: Tensor, anchor_ND: Tensor, directions_RD: Tensor) -> Tensor:
    """Share [N] of the energy of v - a outside orthonormal directions; 0 for the anchor itself."""
    way_NKD = (vectors_NKD - anchor_ND[:, None]).double()
    energy_N = way_NKD.square().sum(dim=(1, 2))
    inside_N = (way_NKD @ directions_RD.T).square().sum(dim=(1, 2))
    return torch.where(energy_N > 0, 1 - inside_N / energy_N.clamp(min=1e-300), 0.0)


def distance(vectors_NKD: Tensor, table_SD: Tensor) -> Tensor:
    """Mean distance [N] of a word's vectors to their nearest rows."""
    parts = vectors_NKD.flatten(0, 1).split(AT_ONCE)
    nearest_M = torch.cat([torch.cdist(part_MD, table_SD).amin(dim=1) for part_MD in parts])
    return nearest_M.view(vectors_NKD.shape[:2]).mean(dim=1)


def typical_distance(table_SD: Tensor, sample: int = SAMPLE) -> Tensor:
    """Median distance of rows (`sample` of them at most, evenly spaced) to the nearest other."""
    table_SD = table_SD.double()  # in which what is equal is told from what is near
    same = 1e-6 * table_SD.square().sum(dim=1).mean().sqrt()
    nearest = []
    for part_MD in table_SD[:: -(-len(table_SD) // sample)].split(AT_ONCE):
        distance_MS = torch.cdist(part_MD, table_SD)
        nearest.append(distance_MS.masked_fill(distance_MS < same, torch.inf).amin(dim=1))
    return torch.cat(nearest).median().float()


def strange_output(encoded_NF: Tensor, ordinary_BF: Tensor) -> Tensor:
    """Mahalanobis distance [N] to ordinary phrases, relative to theirs."""
    mean_F = ordinary_BF.mean(dim=0).double()
    _, values_F, directions_FF = torch.linalg.svd(
        ordinary_BF.double() - mean_F, full_matrices=False
    )
    spanned = values_F > 1e-4 * values_F[0]
    scale_F = values_F[spanned] / len(ordinary_BF) ** 0.5
    way_NF = (encoded_NF.double() - mean_F) @ directions_FF[spanned].T / scale_F
    return way_NF.square().mean(dim=1).sqrt()


def turning_block(word_HND: Tensor, anchor_HND: Tensor, name_HND: Tensor) -> Tensor:
    """First block [N], from 1, that brings a word nearer to the name than to its anchor.

    H + 1 where none does.
    """
    to_name_HN = F.cosine_similarity(word_HND, name_HND, dim=-1)
    to_anchor_HN = F.cosine_similarity(word_HND, anchor_HND, dim=-1)
    nearer_HN = to_name_HN > to_anchor_HN
    never_N = ~nearer_HN.any(dim=0)
    return torch.where(never_N, len(nearer_HN), nearer_HN.int().argmax(dim=0)) + 1
