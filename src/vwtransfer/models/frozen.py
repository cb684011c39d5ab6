"""What the models of this package share: their settings, under the names of the contract."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vwtransfer.config.models import Checkpointed, ModelSettings
from vwtransfer.models.cache import Cache
from vwtransfer.models.checkpoints import Alternatives, Checkpoint, pretrained
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.text_encoder import Forward, TextEncoder
from vwtransfer.models.vocabulary import Vocabulary
from vwtransfer.seeds import generator
from vwtransfer.words.cells import Cell


class FrozenCheckpoint:
    """A checkpoint that is not loaded before it is used.

    Args:
        settings: its keys in the config.
        device: where it runs.

    Attributes:
        name: its key in `model`.
    """

    name: str

    def __init__(self, settings: Checkpointed, device: torch.device) -> None:
        self.settings: Any = settings
        self.device = device
        self.dtype: torch.dtype = getattr(torch, settings.dtype)
        self.checkpoint = Checkpoint(
            f"model.{self.name}", settings.checkpoint, settings.revision, self.files
        )

    @property
    @abstractmethod
    def files(self) -> Sequence[Alternatives]:
        """What loading it reads, each by its usual names."""

    def pretrained(self, kind: Any, attention: str | None, **options: Any) -> Any:
        """See `checkpoints.pretrained`; in the settings' precision."""
        options |= {"dtype": self.dtype, "attn_implementation": attention}
        return pretrained(kind, self.checkpoint, self.device, **options)


class Frozen(FrozenCheckpoint):
    """A model that words are learned in.

    Args:
        settings: its keys in the config.
        device: where it runs.
        cache: keeps what it makes of images; None: every process computes it.
    """

    settings: ModelSettings
    trains_with: tuple[str, ...] = ()

    def __init__(
        self, settings: ModelSettings, device: torch.device, cache: Cache | None = None
    ) -> None:
        self.name, self.task = settings.name, settings.task
        self.training, self.prompt_template = settings.training, settings.prompt_template
        self.cache, self.support = cache, settings.support
        super().__init__(settings, device)

    @property
    def vocabularies(self) -> Mapping[str, Vocabulary]:
        """The tokenizer of each text encoder; of most there is one."""
        return {"text": self._vocabulary}

    @property
    @abstractmethod
    def _vocabulary(self) -> Vocabulary: ...

    def text_space(
        self, embedding: nn.Embedding, forward: Forward, blocks: Any, only_pooled: bool = True
    ) -> EmbeddingSpace:
        """The space of the only text encoder; see `TextEncoder`."""
        text = TextEncoder(
            self.vocabularies["text"], embedding, forward, only_pooled=only_pooled, blocks=blocks
        )
        return EmbeddingSpace({"text": text}, self.support, self.name)

    def batches(self, features: Any, cell: Cell) -> Tensor:
        """Images of the concept in shuffled epochs; `features` say what `concepts` they are of."""
        own = [i for i, concept in enumerate(features.concepts) if concept == cell.concept]
        return self.shuffled(own, cell)

    def shuffled(self, images: Iterable[int], cell: Cell) -> Tensor:
        """Indices [steps, B] drawn from `images` in shuffled epochs, from the word's own stream."""
        steps, batch = self.training.steps, self.training.batch_size
        stream = batch_stream(cell, self.task)
        return shuffled_epochs(list(images), steps * batch, stream).view(steps, batch)


def shuffled_epochs(images: Sequence[int], count: int, stream: torch.Generator) -> Tensor:
    """`count` indices drawn from `images` the way a shuffling data loader goes through them."""
    pool = torch.tensor(list(images))
    epochs = -(-count // len(pool))
    order = [torch.randperm(len(pool), generator=stream) for _ in range(epochs)]
    return pool[torch.cat(order)[:count]]


def batch_stream(cell: Cell, task: str) -> torch.Generator:
    """The random stream that decides which images a word sees."""
    return generator("batches", cell.stream(task))
