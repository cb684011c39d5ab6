"""Why a word is lost on the way: what of it each cause predicts.

For every word and direction, columns that need no measurement in the target:

    outside_table   share of the energy of the word's way from its anchor, v - a, that lies outside
                    the leading principal directions of the source's table (nine tenths of its
                    energy): there the map is fitted on next to nothing
    far_from_words  distance of its vectors to their nearest vocabulary words, in units of the
                    words' own median distance to their nearest neighbours
    strange_output  distance of its encoded prompt from those of ordinary phrases (Mahalanobis, in
                    units of their root mean square)
    turning_block   first block of the source's text encoder behind which the end of its prompt is
                    nearer to the prompt of the concept's name than to the anchor's; one more than
                    there are where that never happens (paper, section 6: late)

and the loss that they are to predict: the mean of the words trained in the target, less what the
carried word reaches there.

Letters: N words, K vectors per word, D embedding width, S support, H blocks, F features, B phrases.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor

from vwtransfer.illustrations.activations import end_of_text
from vwtransfer.leaderboard.retention import TAILS, mean_of_defined, unconstrained
from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.training.transferable import leading_directions
from vwtransfer.transfer.prompts import encoded_phrases, end_state, phrases

COLUMNS = ("outside_table", "far_from_words", "strange_output", "turning_block")
PHRASES, LONGEST = 2000, 4
RESAMPLES = 1000
WORD = ["dataset", "concept", "anchor"]
GROUP = ["dataset", "trained_for", "evaluated_on"]


def outside_table(vectors_NKD: Tensor, anchor_ND: Tensor, table_SD: Tensor) -> Tensor:
    """Share [N] of the energy of v - a outside the table's leading principal directions."""
    way_NKD = (vectors_NKD - anchor_ND[:, None]).double()
    inside_N = (way_NKD @ leading_directions(table_SD).T).square().sum(dim=(1, 2))
    return 1 - inside_N / way_NKD.square().sum(dim=(1, 2))


def far_from_words(vectors_NKD: Tensor, table_SD: Tensor) -> Tensor:
    """Mean distance [N] of the vectors to their nearest words, in the words' own distances."""
    among_SS = torch.cdist(table_SD, table_SD).fill_diagonal_(torch.inf)
    typical = among_SS.amin(dim=1).median()
    nearest_NK = torch.cdist(vectors_NKD.flatten(0, 1), table_SD).amin(dim=1)
    return nearest_NK.view(vectors_NKD.shape[:2]).mean(dim=1) / typical


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


@torch.no_grad()
def columns(
    text: TextEncoder,
    template: str,
    vectors_NKD: Tensor,
    anchors: Sequence[str],
    names: Sequence[str],
    support: Sequence[str],
    excluded: Sequence[str],
) -> dict[str, list[float]]:
    """COLUMNS for N words of one source model.

    Args:
        text: the source's text encoder.
        template: the prompt of its task.
        vectors_NKD: the words.
        anchors: where each began.
        names: what each is to mean, in words.
        support: token strings of the vocabulary that counts.
        excluded: descriptions that no ordinary phrase may spell out.
    """
    table_SD = text.rows(sorted(set(support)))
    anchor_ND = torch.stack([text.word_row(anchor) for anchor in anchors])
    device = text.embedding.weight.device
    ordinary_BF = encoded_phrases(text, template, phrases(support, PHRASES, LONGEST, excluded))
    encoded_NF = end_state(text, template, vectors_NKD.to(device))
    found = {
        "outside_table": outside_table(vectors_NKD, anchor_ND, table_SD),
        "far_from_words": far_from_words(vectors_NKD, table_SD),
        "strange_output": strange_output(encoded_NF.cpu(), ordinary_BF.cpu()),
    }
    if text.blocks is not None:
        word_HND = end_of_text(text, template, vectors_NKD)
        anchor_HND = end_of_text(text, template, anchor_ND[:, None])
        name_HND = torch.cat([_name(text, template, name) for name in names], dim=1)
        found["turning_block"] = turning_block(word_HND, anchor_HND, name_HND)
    return {column: values.tolist() for column, values in found.items()}


def _name(text: TextEncoder, template: str, name: str) -> Tensor:
    """Activations [H, 1, D] of a name's own tokens in the template."""
    ids = text.vocabulary.encode(name)
    strings = {number: token for token, number in text.vocabulary.ids.items()}
    tokens = [strings[number] for number in ids[1 : text.vocabulary.end(ids)]]
    return end_of_text(text, template, text.rows(tokens)[None])


def losses(frame: pd.DataFrame, method: str) -> pd.DataFrame:
    """GROUP, WORD and `loss` of each word and direction by a method, in the headline metric."""
    frame = unconstrained(frame)
    own = frame[frame["trained_for"] == frame["evaluated_on"]]
    level = own.groupby(["dataset", "evaluated_on"], observed=True)["value"].mean()
    moved = frame[frame["transfer"] == method]
    moved = moved.join(level.rename("level"), on=["dataset", "evaluated_on"])
    return moved.assign(loss=moved["level"] - moved["value"])[
        [*dict.fromkeys([*GROUP, *WORD]), "loss"]
    ].reset_index(drop=True)


def rank_correlations(
    table: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """How well each column predicts the loss: Spearman's rho within groups, averaged over them.

    Args:
        table: rows of `losses` with COLUMNS beside them.
        resamples: of words, within each group, for the 95 % interval.
        seed: of the resampling.

    Returns:
        A row for each column of COLUMNS that is there: `column`, `rho`, `low`, `high`, `groups`
        (those in which column and loss both vary).
    """
    rng = np.random.default_rng(seed)
    rows = []
    for column in [column for column in COLUMNS if column in table]:
        pairs = [group[[column, "loss"]].to_numpy() for _, group in table.groupby(GROUP)]
        groups = [pair for pair in pairs if math.isfinite(_rho(pair))]
        if not groups:
            rows.append((column, math.nan, math.nan, math.nan, 0))
            continue
        drawn = [
            [_rho(group[rng.integers(len(group), size=len(group))]) for group in groups]
            for _ in range(resamples)
        ]
        low, high = np.nanquantile(mean_of_defined(list(np.transpose(drawn))), TAILS)
        rho = float(np.mean([_rho(group) for group in groups]))
        rows.append((column, rho, float(low), float(high), len(groups)))
    return pd.DataFrame(rows, columns=["column", "rho", "low", "high", "groups"])


def _rho(pairs: np.ndarray) -> float:
    """Spearman's correlation; nan where one of the two does not vary."""
    if (pairs == pairs[0]).all(axis=0).any():
        return math.nan
    return float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)
