"""Why a word may be lost on the way to another model: what its own model says of it beforehand.

DIAGNOSTICS, columns of the results, for trained words:

    off_subspace_energy  share of the energy of the word's offset from its anchor, v - a, outside
                         the leading principal directions of the table (nine tenths of its energy):
                         a map between tables is fitted on next to nothing there
    vocabulary_distance  distance of its vectors to their nearest tokens, in units of the tokens'
                         own median distance to their nearest neighbours
    output_distance      distance of its encoded prompt from calibration prompts (Mahalanobis, in
                         units of their root mean square)
    concept_onset_layer  first block of the text encoder behind which the end of its prompt is
                         nearer to the prompt of the concept's name than to the anchor's; one more
                         than there are where that never happens (paper, section 6: late)

Letters: N words, K vectors per word, D embedding width, S support, H blocks, F features, B phrases.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from vwtransfer.datasets import Dataset, descriptions_of
from vwtransfer.models import Model
from vwtransfer.models.activations import behind_texts, end_of_text
from vwtransfer.models.support import support_of
from vwtransfer.results import DIAGNOSTICS
from vwtransfer.training.regularizers import leading_directions
from vwtransfer.transfer.kept_readings import KeptReadings
from vwtransfer.transfer.prompts import calibration_prompts, states
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import WordStore

PHRASES, MAX_WORDS = 2000, 4
SAMPLE = 2000  # words whose distance to their nearest neighbour is looked at
DIGITS = 4  # behind the point; further on, a word's neighbours in a batch show
AT_ONCE = 512  # vectors


@dataclass(frozen=True)
class EncoderStats:
    """The tokens that words of one text encoder lie among.

    Attributes:
        table_SD: rows of the eligible ones.
        directions_RD: see `leading_directions`.
        typical: see `typical_distance`.
    """

    table_SD: Tensor
    directions_RD: Tensor
    typical: Tensor


@dataclass(frozen=True)
class VocabularyStats:
    """The tokens that a model's words lie among; nothing is read before it is asked for.

    Attributes:
        model: that words are trained in.
    """

    model: Model

    @cached_property
    def encoders(self) -> dict[str, EncoderStats]:
        """By the names of its text encoders."""
        text, found = self.model.text, {}
        for name, encoder in text.encoders.items():
            table_SD = encoder.rows(sorted(set(text.eligible[name])))
            found[name] = EncoderStats(
                table_SD, leading_directions(table_SD), typical_distance(table_SD)
            )
        return found


@dataclass(frozen=True)
class Diagnostics:
    """DIAGNOSTICS of words of one dataset and model; nothing is read before it is asked for.

    Attributes:
        around: what they lie in.
        store: where the words lie.
        dataset: of their concepts, whose descriptions no calibration prompt may spell out.
        readings: keeps what the model reads of calibration prompts.
    """

    around: VocabularyStats
    store: WordStore
    dataset: Dataset
    readings: KeptReadings = field(default_factory=KeptReadings)

    _known: dict[Cell, dict[str, float]] = field(default_factory=dict, init=False, repr=False)

    def of(self, cells: Sequence[Cell]) -> list[dict[str, float]]:
        """DIAGNOSTICS of each word; `concept_onset_layer` only where the encoder shows its blocks.

        Means over the model's text encoders, where it has several; the layer is of the first one.
        A word is looked at once, however many models it is measured in.
        """
        if new := [cell for cell in dict.fromkeys(cells) if cell not in self._known]:
            self._known.update(zip(new, self._look(new), strict=True))
        return [self._known[cell] for cell in cells]

    @torch.no_grad()
    def _look(self, cells: Sequence[Cell]) -> list[dict[str, float]]:
        text, template = self.around.model.text, self.around.model.prompt_template
        words_NKD = torch.stack([self.store.load(c, text.width).vectors_KD for c in cells])
        anchor_ND = text.anchor_rows([cell.anchor for cell in cells])
        encoded_NF = states(text, template, words_NKD.to(text.device))[:, 0].cpu()
        energies, distances = [], []
        for name, stats in self.around.encoders.items():
            part = text.slices[name]
            own_NKD = words_NKD[..., part]
            energies.append(off_subspace_energy(own_NKD, anchor_ND[:, part], stats.directions_RD))
            distances.append(distance(own_NKD, stats.table_SD) / stats.typical)
        found = {
            "off_subspace_energy": torch.stack(energies).mean(dim=0),
            "vocabulary_distance": torch.stack(distances).mean(dim=0),
            "output_distance": output_distance(encoded_NF, self._calibration_BF),
        }
        name, encoder = next(iter(text.encoders.items()))
        if encoder.blocks is not None:
            part = text.slices[name]
            named = [template.format(self.dataset.concepts[cell.concept]) for cell in cells]
            found["concept_onset_layer"] = concept_onset_layer(
                end_of_text(encoder, template, words_NKD[..., part]),
                end_of_text(encoder, template, anchor_ND[:, None, part]),
                behind_texts(encoder, encoder.blocks, named).cpu(),
            )
        return [
            {each: round(float(found[each][n]), DIGITS) for each in DIAGNOSTICS if each in found}
            for n in range(len(cells))
        ]

    @cached_property
    def _calibration_BF(self) -> Tensor:
        model, excluded = self.around.model, descriptions_of(self.dataset)
        own = support_of(model.text, model.text)
        chosen = calibration_prompts(own, PHRASES, MAX_WORDS, excluded)
        return self.readings.states(model.text, [model.prompt_template], chosen)[:, 0].cpu()


def off_subspace_energy(words_NKD: Tensor, anchor_ND: Tensor, directions_RD: Tensor) -> Tensor:
    """Share [N] of the energy of v - a outside orthonormal directions; 0 for the anchor itself."""
    way_NKD = (words_NKD - anchor_ND[:, None]).double()
    energy_N = way_NKD.square().sum(dim=(1, 2))
    inside_N = (way_NKD @ directions_RD.T).square().sum(dim=(1, 2))
    return torch.where(energy_N > 0, 1 - inside_N / energy_N.clamp(min=1e-300), 0.0)


def distance(words_NKD: Tensor, table_SD: Tensor) -> Tensor:
    """Mean distance [N] of a word's vectors to their nearest rows."""
    parts = words_NKD.flatten(0, 1).split(AT_ONCE)
    nearest_M = torch.cat([torch.cdist(part_MD, table_SD).amin(dim=1) for part_MD in parts])
    return nearest_M.view(words_NKD.shape[:2]).mean(dim=1)


def typical_distance(table_SD: Tensor, sample: int = SAMPLE) -> Tensor:
    """Median distance of rows (`sample` of them at most, evenly spaced) to the nearest other."""
    table_SD = table_SD.double()  # in which what is equal is told from what is near
    same = 1e-6 * table_SD.square().sum(dim=1).mean().sqrt()
    nearest = []
    for part_MD in table_SD[:: -(-len(table_SD) // sample)].split(AT_ONCE):
        distance_MS = torch.cdist(part_MD, table_SD)
        nearest.append(distance_MS.masked_fill(distance_MS < same, torch.inf).amin(dim=1))
    return torch.cat(nearest).median().float()


def output_distance(encoded_NF: Tensor, calibration_BF: Tensor) -> Tensor:
    """Mahalanobis distance [N] to calibration prompts, relative to theirs."""
    mean_F = calibration_BF.mean(dim=0).double()
    _, values_F, directions_FF = torch.linalg.svd(
        calibration_BF.double() - mean_F, full_matrices=False
    )
    spanned = values_F > 1e-4 * values_F[0]
    scale_F = values_F[spanned] / len(calibration_BF) ** 0.5
    way_NF = (encoded_NF.double() - mean_F) @ directions_FF[spanned].T / scale_F
    return way_NF.square().mean(dim=1).sqrt()


def concept_onset_layer(word_HND: Tensor, anchor_HND: Tensor, name_HND: Tensor) -> Tensor:
    """First block [N], from 1, that brings a word nearer to the name than to its anchor.

    H + 1 where none does.
    """
    to_name_HN = F.cosine_similarity(word_HND, name_HND, dim=-1)
    to_anchor_HN = F.cosine_similarity(word_HND, anchor_HND, dim=-1)
    nearer_HN = to_name_HN > to_anchor_HN
    never_N = ~nearer_HN.any(dim=0)
    return torch.where(never_N, len(nearer_HN), nearer_HN.int().argmax(dim=0)) + 1
