"""How well words that share a label (an anchor, a concept) lie together, and a map to look at.

The numbers behind figures 7 and 12 to 18 of the paper. Distances are Euclidean, as t-SNE's are.

Shapes: N words, D width of what is compared.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances, silhouette_samples

PERPLEXITY = 30.0
FEWEST = 4  # words that t-SNE makes a map of


def purity(points_ND: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """For each word the share of its k nearest neighbours that have its label.

    k is the number of other words with that label, so that 1 means that they are the nearest ones;
    by chance it is k / (N - 1). nan for a label that no other word has.
    """
    labels_N = np.array(labels)
    distance_NN = pairwise_distances(points_ND)
    np.fill_diagonal(distance_NN, np.inf)
    order_NN = distance_NN.argsort(axis=1, kind="stable")
    shares = np.full(len(labels_N), np.nan)
    for n, label in enumerate(labels_N):
        k = int(np.count_nonzero(labels_N == label)) - 1
        if k:
            shares[n] = (labels_N[order_NN[n, :k]] == label).mean()
    return shares


def chance_of_purity(labels: Sequence[str]) -> float:
    """The mean purity of points that know nothing of their labels; nan where no label is shared."""
    _, counts = np.unique(np.array(labels), return_counts=True)
    shared = counts[counts > 1]
    words = len(labels)
    return (
        float((shared * (shared - 1)).sum() / shared.sum() / (words - 1)) if len(shared) else np.nan
    )


def silhouette(points_ND: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """The silhouette of each word, from -1 to 1; nan where the labels make no two clusters."""
    labels_N = np.array(labels)
    names, counts = np.unique(labels_N, return_counts=True)
    if not 1 < len(names) < len(labels_N):
        return np.full(len(labels_N), np.nan)
    values = silhouette_samples(points_ND, labels_N)
    alone = np.isin(labels_N, names[counts == 1])
    return np.where(alone, np.nan, values)


def t_sne(points_ND: np.ndarray, seed: int) -> np.ndarray:
    """A map [N, 2] that keeps neighbours together; nan for fewer words than it takes."""
    words = len(points_ND)
    if words < FEWEST:
        return np.full((words, 2), np.nan)
    perplexity = min(PERPLEXITY, (words - 1) / 3)
    fitted = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(points_ND)
    return np.asarray(fitted, np.float64)
