"""How what a source reads of a word becomes what a target is to read of it.

Letters: N words, R readings, F features, B phrases, J neighbours.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vwtransfer.transfer.ridge import ridge
from vwtransfer.transfer.tables import explained

Reader = Callable[[Tensor], Tensor]


def ridge_reader(y_BRF: Tensor, x_BRF: Tensor, ridge_alpha: float | None) -> tuple[Reader, float]:
    """For each reading the ridge map from the source's to the target's, and their mean R2."""
    fits, scores = [], []
    for y_BF, x_BF in zip(y_BRF.cpu().unbind(1), x_BRF.cpu().unbind(1), strict=True):
        y, x = y_BF.double().numpy(), x_BF.double().numpy()
        matrix, offset, _ = ridge(y, x, ridge_alpha)
        fits.append((torch.from_numpy(matrix).to(x_BRF), torch.from_numpy(offset).to(x_BRF)))
        scores.append(explained(x, y @ matrix + offset) or 0.0)

    def predict(read_NRF: Tensor) -> Tensor:
        parts = [y @ a + b for y, (a, b) in zip(read_NRF.unbind(1), fits, strict=True)]
        return torch.stack(parts, dim=1)

    return predict, sum(scores) / len(scores)


def cosines(bank_BRF: Tensor) -> Reader:
    """What is read [N, R, F] -> its cosines [N, R, B] with the phrases of a bank."""
    unit_BRF = F.normalize(bank_BRF, dim=-1)
    return lambda read_NRF: torch.einsum("nrf,brf->nrb", F.normalize(read_NRF, dim=-1), unit_BRF)


def cosines_of(reading: Reader, bank_BRF: Tensor) -> Reader:
    """Words -> cosines [N, R, B] of what is read of them."""
    find = cosines(bank_BRF)
    return lambda words_NKD: find(reading(words_NKD))


def nearest_mean(y_BRF: Tensor, x_BRF: Tensor, neighbours: int, temperature: float) -> Reader:
    """What is read -> the mean [N, R, F] of what the target makes of the phrases nearest to it."""
    find = cosines(y_BRF)

    def mean(read_NRF: Tensor) -> Tensor:
        nearest_NRJ, index_NRJ = find(read_NRF).topk(neighbours, dim=-1)
        weight_NRJ = torch.softmax(nearest_NRJ / temperature, dim=-1)
        reading_R1 = torch.arange(x_BRF.shape[1], device=x_BRF.device)[:, None]
        return torch.einsum("nrj,nrjf->nrf", weight_NRJ, x_BRF[index_NRJ, reading_R1])

    return mean
