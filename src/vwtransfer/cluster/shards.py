"""What one job trains and measures: by default all anchors and deltas of a concept in a model."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter

from vwtransfer.config import Config, DatasetConfig
from vwtransfer.evaluation.specs import WORD, EvalSpec
from vwtransfer.words.cells import Cell, delta_text, pairs, parse_key


@dataclass(frozen=True)
class Shard:
    """Words of one dataset, model and concept.

    Attributes:
        dataset, model, concept: of all its words.
        part: which part of the concept's words, as "2of5"; empty for all of them.
        ends: the last part of each word's key; equal ones are one object, as a study of a million
            words has few different ones.
        asked: what is measured of them: the transfer, the models that they are mapped into, and the
            baselines.
        baselines_in: the models whose baselines are measured beside them.
    """

    dataset: str
    model: str
    concept: str
    part: str
    ends: tuple[str, ...]
    asked: tuple[str, ...]
    baselines_in: tuple[str, ...]

    @property
    def key(self) -> str:
        """The shard as a person reads it: tiny_shapes/tiny_sd/red_striped_star."""
        return "/".join(filter(None, (self.dataset, self.model, self.concept, self.part)))

    @property
    def file_name(self) -> str:
        """The shard as the name of a file."""
        return self.key.replace("/", "~")  # no name of a config holds one

    @property
    def folder(self) -> str:
        """Where its words lie under words/."""
        return f"{self.dataset}/{self.model}/{self.concept}"

    @property
    def cells(self) -> list[Cell]:
        """Its words."""
        return [parse_key(f"{self.folder}/{end}") for end in self.ends]

    def holds(self, spec: EvalSpec) -> bool:
        """Whether it measures this: its own words in every model, and some models' baselines."""
        if (spec.dataset, spec.concept) != (self.dataset, self.concept):
            return False
        if spec.kind != WORD:
            return spec.target_model in self.baselines_in
        return spec.source_model == self.model and spec.cell.key.split("/")[-1] in self.ends

    def part_key(self, trained: tuple[str, ...]) -> str:
        """Names the part of the results that is complete once these of its words are measured.

        A word that failed and was trained later makes another part necessary.
        """
        return f"shard/{self.key}/{_digest((*self.asked, *trained))}"

    @property
    def parts_prefix(self) -> str:
        """What the names of all parts of the results begin with that may hold rows of its words."""
        return f"shard/{self.folder}/"


@lru_cache(maxsize=1024)
def _digest(ends: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(ends).encode()).hexdigest()[:12]


def shards(config: Config, left_out: Collection[tuple[str, str]] = ()) -> list[Shard]:
    """Every shard of the study once, ordered by dataset, model and concept.

    Args:
        config: of the study.
        left_out: (model, dataset) pairs that cannot be trained.
    """
    found = []
    for dataset in sorted(config.dataset.values(), key=attrgetter("name")):
        trained = [name for name in config.trained if (name, dataset.name) not in left_out]
        others = [name for name in config.model.models if name not in trained]
        for model in trained:
            asked = _asked(config, model)
            # baselines in a model without shards are left to the first that has some
            baselines_in = (model, *(others if model == trained[0] else ()))
            for concept, ends in _ends(config, dataset):
                for part, some in _parts(ends, config.submit.words_per_shard):
                    shard = Shard(dataset.name, model, concept, part, some, asked, baselines_in)
                    found.append(shard)
    return found


def _asked(config: Config, model: str) -> tuple[str, ...]:
    targets = sorted(target for source, target in config.direction if source == model)
    transfer = (*sorted(config.transfer.methods), *targets) if targets else ()
    return (*transfer, "", *sorted(config.evaluation.baselines))


def _ends(config: Config, dataset: DatasetConfig) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(concept, ends of its words' keys), in the order of `words.cells`."""
    found: dict[str, set[tuple[str, float]]] = {}
    for words in config.products:
        for concept, anchor in pairs(words, dataset):
            found.setdefault(concept, set()).update((anchor, delta) for delta in words.deltas)
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    for concept in sorted(found):
        ends = tuple(
            f"{anchor}-{delta_text(delta)}-{config.seed}"
            for anchor, delta in sorted(found[concept])
        )
        yield concept, known.setdefault(ends, ends)


def _parts(ends: tuple[str, ...], size: int | None) -> Sequence[tuple[str, tuple[str, ...]]]:
    if size is None or size >= len(ends):
        return [("", ends)]
    starts = range(0, len(ends), size)
    return [
        (f"{i}of{len(starts)}", ends[start : start + size]) for i, start in enumerate(starts, 1)
    ]
