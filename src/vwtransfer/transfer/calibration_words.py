"""Calibration words: what training leaves in every word of a model, learned from words with names.

Words of a model are read unlike the names of their concepts, and much of the difference is the same
in all of them: words of detection, for instance, are pushed away from what is in the background of
every image. From words of other concepts, whose names are known, we estimate

    reading(word) = scale * reading(name) + offset + noise

and carry over the name's part alone. The linear map is then the regression of the target's readings
on what the source would read of a word, whose error is the noise's covariance and no penalty that
has to be chosen (errors in variables; Fuller, "Measurement error models", 1987). The covariance is
shrunk as of Ledoit and Wolf (2004), as there are fewer words than dimensions.

Letters: N words, R readings, F features, B phrases.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from vwtransfer.errors import UserError
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import Excluded
from vwtransfer.transfer.prompts import Reading, encoded_phrases
from vwtransfer.words.store import Word, load_word

FEWEST = 8  # concepts


@dataclass(frozen=True)
class TrainingNoise:
    """How words are read, beside how the names of their concepts are.

    Attributes:
        scale_R: what is left of the name's reading.
        offset_RF: what is in the reading of every word.
        covariance_RFF: of what remains.
        words, concepts: of how many this was learned.
        digest: of these words.
    """

    scale_R: Tensor
    offset_RF: Tensor
    covariance_RFF: Tensor
    words: int
    concepts: int
    digest: str = ""

    def of(self, readings_R: Tensor) -> "TrainingNoise":
        """That of some of the readings, in the order given."""
        return replace(
            self,
            scale_R=self.scale_R[readings_R],
            offset_RF=self.offset_RF[readings_R],
            covariance_RFF=self.covariance_RFF[readings_R],
        )

    def linear(self, y_BRF: Tensor, x_BRF: Tensor) -> Callable[[Tensor], Tensor]:
        """What is read of words [N, R, F], less the offset -> what the target is to read of them.

        Args:
            y_BRF: what the source reads of phrases, with mean zero.
            x_BRF: what the target reads of them, with mean zero.
        """
        maps = []
        for r, scale in enumerate(self.scale_R.tolist()):
            y_BF, x_BF = y_BRF[:, r].double(), x_BRF[:, r].double()
            named_FF = scale**2 * y_BF.T @ y_BF / len(y_BF)
            noisy_FF = named_FF + self.covariance_RFF[r].double()
            both_FG = scale * y_BF.T @ x_BF / len(y_BF)
            maps.append(torch.linalg.solve(noisy_FF, both_FG).to(x_BRF))
        map_RFG = torch.stack(maps)
        return lambda read_NRF: torch.einsum("nrf,rfg->nrg", read_NRF, map_RFG)


def calibration_words(
    folder: Path, space: EmbeddingSpace, excluded: Sequence[str], key: str = "calibration_words"
) -> list[tuple[str, Word]]:
    """The words of a model in a study's folder, each with the name of its concept.

    Args:
        folder: of a study.
        space: of the model.
        excluded: descriptions; words of concepts that are called so are left out.
        key: of the config, for messages.

    Raises:
        UserError: too few are there, or they were trained beside another embedding table.
    """
    forbidden = Excluded(excluded)
    found = []
    for path in sorted((folder / "words").glob(f"*/{space.model}/*/*.safetensors")):
        word = load_word(path, space.width)
        name = word.cell.concept.replace("_", " ")
        if not forbidden.spelt_out(name.lower().split()):
            found.append((name, word))
    concepts = {name for name, _ in found}
    if len(concepts) < FEWEST:
        raise UserError(
            f"transfer.{key}={folder}: holds words of {space.model} for "
            f"{len(concepts)} concepts other than those that are carried; at least {FEWEST} are "
            "needed. Train some there (name=...), or choose transfer=readout_matching."
        )
    other = next((word for _, word in found if word.table != space.identity), None)
    if other is not None:
        raise UserError(
            f"transfer.{key}={folder}: {other.cell.key} was trained beside another "
            f"embedding table than that of model.{space.model}."
        )
    return found


@torch.no_grad()
def training_noise(folder: Path, here: Reading, excluded: Sequence[str]) -> TrainingNoise:
    """What training leaves in words of a model, as its words in a study's folder show.

    Args:
        folder: of the study.
        here: how the model reads words.
        excluded: descriptions; words of concepts that are called so are left out.

    Raises:
        UserError: see `calibration_words`.
    """
    named = calibration_words(folder, here.space, excluded)
    read_NRF = _read([word for _, word in named], here)
    phrases = [tuple(name.split()) for name, _ in named]
    states = [encoded_phrases(here.space, t, phrases, here.read_positions) for t in here.templates]
    name_NRF = (torch.cat(states, dim=1) - here.mean_RF) / here.scale_F
    scale_R = ((read_NRF * name_NRF).sum(-1) / name_NRF.square().sum(-1)).mean(0).clamp(min=0.1)
    rest_NRF = read_NRF - scale_R[:, None] * name_NRF
    offset_RF = rest_NRF.mean(dim=0)
    covariances = [
        torch.from_numpy(ledoit_wolf(part.double().cpu().numpy(), assume_centered=True)[0])
        for part in (rest_NRF - offset_RF).unbind(dim=1)
    ]
    covariance_RFF = torch.stack(covariances).to(read_NRF)
    concepts = len({name for name, _ in named})
    return TrainingNoise(scale_R, offset_RF, covariance_RFF, len(named), concepts, _digest(named))


@torch.no_grad()
def common_offset(
    folder: Path, here: Reading, excluded: Sequence[str]
) -> tuple[Tensor, dict[str, Any]]:
    """The mean [R, F] of what is read of a model's words in a study's folder, and a report of them.

    Names do not enter. It holds what training leaves in every word, and what their concepts have in
    common.

    Args:
        folder: of the study.
        here: how the model reads words.
        excluded: descriptions; words of concepts that are called so are left out.

    Raises:
        UserError: see `calibration_words`.
    """
    named = calibration_words(folder, here.space, excluded, "offset_words")
    offset_RF = _read([word for _, word in named], here).mean(dim=0)
    return offset_RF, {"offset_words": len(named), "words_digest": _digest(named)}


def _digest(named: Sequence[tuple[str, Word]]) -> str:
    """Of all words that something was learned from: a study goes on with the same."""
    found = hashlib.sha256()
    for _, word in named:
        found.update(word.cell.key.encode())
        found.update(word.vectors_KD.cpu().numpy().tobytes())
    return found.hexdigest()


def _read(words: Sequence[Word], here: Reading) -> Tensor:
    """What is read of words that may be of several lengths, [N, R, F]."""
    read: dict[int, Tensor] = {}
    for length in {len(word.vectors_KD) for word in words}:
        alike = [n for n, word in enumerate(words) if len(word.vectors_KD) == length]
        words_NKD = torch.stack([words[n].vectors_KD for n in alike]).to(here.space.device)
        read.update(zip(alike, here(words_NKD), strict=True))
    return torch.stack([read[n] for n in range(len(words))])
