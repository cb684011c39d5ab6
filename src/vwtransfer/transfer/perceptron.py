"""A small multilayer perceptron between the tables, for what a linear map cannot follow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from vwtransfer.transfer.tables import TableMethod, VectorMap, explained


@dataclass(frozen=True)
class PerceptronMap(VectorMap):
    """A fitted regressor between standardised tables."""

    regressor: MLPRegressor
    source_scale: StandardScaler
    target_scale: StandardScaler
    report: Mapping[str, Any]

    def vectors(self, vectors_MD: Tensor) -> Tensor:
        """What the regressor makes of each."""
        predicted_MD = self.regressor.predict(self.source_scale.transform(vectors_MD.numpy()))
        return torch.from_numpy(self.target_scale.inverse_transform(predicted_MD))


@dataclass
class Perceptron(TableMethod):
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

    def fit_rows(self, y_SD: np.ndarray, x_SD: np.ndarray) -> PerceptronMap:
        """Fits the network."""
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
        told = {"epochs": int(regressor.n_iter_), "r2": explained(x_SD, fitted)}
        return PerceptronMap(regressor, source_scale, target_scale, {"tokens": len(y_SD), **told})
