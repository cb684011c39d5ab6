"""The grid of a study: which words are trained, and in which models each is tried."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter

from vwtransfer.config import Config, DatasetConfig, Product


@dataclass(frozen=True, order=True)
class Cell:
    """One word to train.

    Attributes:
        dataset: the name of the dataset its images are from.
        model: the model it is trained in, by its name in the study.
        concept: what it is to mean.
        anchor: the vocabulary word its vectors start at.
        delta: radius of the ball around the anchor, as a share of the distance to the nearest
            other word (section 5 of the paper); inf where training is unconstrained (section 4).
        seed: of the study.
    """

    dataset: str
    model: str
    concept: str
    anchor: str
    delta: float
    seed: int

    @property
    def key(self) -> str:
        """The cell as a relative path: tiny_shapes/tiny_sd/red_striped_star/zepu-0.5-0."""
        return self.stream(self.model)

    def stream(self, task: str) -> str:
        """The name of the word's random numbers: its key with the task for the model's name.

        So a model that is called otherwise trains the same words.
        """
        end = f"{self.anchor}-{delta_text(self.delta)}-{self.seed}"
        return "/".join((self.dataset, task, self.concept, end))


def parse_key(key: str) -> Cell:
    """The cell whose `key` this is.

    Raises:
        ValueError: the text is not a cell's key.
    """
    try:
        dataset, model, concept, end = key.split("/")
        anchor, delta, seed = end.rsplit("-", 2)
        return Cell(dataset, model, concept, anchor, float(delta), int(seed))
    except ValueError as error:
        raise ValueError(f"not a cell's key: {key!r}") from error


def delta_text(delta: float) -> str:
    """`delta` for file names: inf, or digits without an exponent (a key is split at hyphens)."""
    return "inf" if math.isinf(delta) else f"{Decimal(repr(float(delta))):f}"


def cells(config: Config) -> list[Cell]:
    """Every word of the study once, ordered by dataset, model, concept, anchor and delta."""
    return sorted(
        set(each_cell(config)), key=attrgetter("dataset", "model", "concept", "anchor", "delta")
    )


def each_cell(config: Config) -> Iterator[Cell]:
    """The words of the study one by one, some more than once."""
    for product in config.products:
        for dataset in config.dataset.values():
            for concept, anchor in pairs(product, dataset):
                for model in config.trained:
                    for delta in product.deltas:
                        yield Cell(dataset.name, model, concept, anchor, delta, config.seed)


def pairs(product: Product, dataset: DatasetConfig) -> Iterator[tuple[str, str]]:
    """The (concept, anchor) pairs of a product that the dataset holds."""
    paired = dict(zip(dataset.concepts, dataset.anchors, strict=False))
    for concept in dataset.concepts:
        if product.concepts is not None and concept not in product.concepts:
            continue
        if product.paired:
            yield concept, paired[concept]
            continue
        for anchor in dataset.anchors:
            if product.anchors is None or anchor in product.anchors:
                yield concept, anchor
