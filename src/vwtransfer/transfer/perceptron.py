"""A small multilayer perceptron between the tables, for what a linear map cannot follow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import Support
from vwtransfer.transfer.tables import explained, tables


@dataclass(frozen=True)
class PerceptronMap:
    """A fitted regressor between standardised tables."""

    regressor: MLPRegressor
    source_scale: StandardScaler
    target_scale: StandardScaler
    report: Mapping[str, Any]

    def __call__(self, words_NKD: Tensor, anchors: Sequence[str] | None = None) -> Tensor:
        """Words [N, K, D_source] as [N, K, D_target], vector by vector."""
        vectors_MD = words_NKD.flatten(0, 1).double().cpu().numpy()
        predicted_MD = self.regressor.predict(self.source_scale.transform(vectors_MD))
        mapped_MD = torch.from_numpy(self.target_scale.inverse_transform(predicted_MD))
        return mapped_MD.unflatten(0, words_NKD.shape[:2]).to(words_NKD)


@dataclass
class Perceptron:
    """One hidden layer with weight decay; training stops when left-out words no longer improve.

    Attributes:
        name: what the results call it.
        hidden: units of the hidden layer.
        decay: strength of the penalty on the weights.
        seed: of its start and of which words are left out.
    """

    name: str = "perceptron"
    hidden: int = 256
    decay: float = 0.1
    seed: int = 0

    def fit(
        self,
        source: EmbeddingSpace,
        target: EmbeddingSpace,
        support: Support,
        excluded: Sequence[str] = (),
    ) -> PerceptronMap:
        """Fits the network; no prompt enters it.

        Raises:
            UserError: see `tables.tables`.
        """
        tokens, y_SD, x_SD = tables(source, target, support)
        source_scale, target_scale = StandardScaler().fit(y_SD), StandardScaler().fit(x_SD)
        regressor = MLPRegressor(
            hidden_layer_sizes=(self.hidden,),
            alpha=self.decay,
            early_stopping=True,
            n_iter_no_change=20,
            max_iter=500,
            random_state=self.seed,
        ).fit(source_scale.transform(y_SD), target_scale.transform(x_SD))
        fitted = target_scale.inverse_transform(regressor.predict(source_scale.transform(y_SD)))
        report = {
            "tokens": len(tokens),
            "epochs": int(regressor.n_iter_),
            "r2": explained(x_SD, fitted),
        }
        return PerceptronMap(regressor, source_scale, target_scale, report)
