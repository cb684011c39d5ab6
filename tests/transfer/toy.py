"""Small embedding spaces whose tables are known, to test maps between them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import Support, support_of
from vwtransfer.models.text_encoder import Encoded, TextEncoder
from vwtransfer.models.vocabulary import Vocabulary

SPECIAL = ["<start>", "<end>"]
NAMES = [a + b + c for a in "bdfg" for b in "aeiou" for c in "klmn"]
WORDS = [f"{name}</w>" for name in NAMES]


class Reader(nn.Module):
    """Unit features [N, E] of prompts: a mean over tokens behind a fixed nonlinear layer."""

    def __init__(self, table_VD: Tensor, width: int, seed: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(table_VD, freeze=True)
        stream = torch.Generator().manual_seed(seed)
        self.first = torch.randn(table_VD.shape[1], 4 * width, generator=stream) / width**0.5
        self.last = torch.randn(4 * width, width, generator=stream) / width**0.5

    def forward(self, ids_NL: Tensor, _mask: Tensor | None) -> Encoded:
        hidden = torch.tanh(self.embedding(ids_NL) @ self.first).mean(dim=1)
        return Encoded(pooled_NE=nn.functional.normalize(hidden @ self.last, dim=-1))


class TwoPlaces(nn.Module):
    """States [N, L, 12] of all tokens: one half of a vector is read there, the other at the end."""

    def __init__(self, table_VD: Tensor) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(table_VD)
        stream = torch.Generator().manual_seed(7)
        self.own, self.end = (torch.randn(6, 12, generator=stream) for _ in range(2))

    def forward(self, ids_NL: Tensor, _mask: Tensor | None) -> Encoded:
        own_NLD, end_NLD = self.embedding(ids_NL).chunk(2, dim=-1)
        states_NLF = torch.tanh(own_NLD @ self.own)
        at_end_NF = torch.tanh(end_NLD @ self.end).sum(dim=1)
        return Encoded(torch.where((ids_NL == 1)[..., None], at_end_NF[:, None], states_NLF))


def encoder(table_SD: np.ndarray, seed: int = 0, words: Sequence[str] = WORDS) -> EmbeddingSpace:
    """A space whose rows for `words` are `table_SD`; special tokens stand before them."""
    width = table_SD.shape[1]
    table_VD = torch.zeros(len(words) + len(SPECIAL), width)
    table_VD[len(SPECIAL) :] = torch.from_numpy(table_SD)
    reader = Reader(table_VD, width, seed)
    vocabulary = vocabulary_of(words)
    return space(TextEncoder(vocabulary, reader.embedding, reader, only_pooled=True))


def two_places(table_SD: np.ndarray) -> EmbeddingSpace:
    """A space of width 12 whose encoder gives the states of all tokens."""
    reader = TwoPlaces(text(encoder(table_SD)).embedding.weight)
    return space(TextEncoder(vocabulary_of(WORDS), reader.embedding, reader, only_pooled=False))


def vocabulary_of(words: Sequence[str]) -> Vocabulary:
    """CLIP's kind, one token for each of these words; other words are not read at all."""
    ids = {token: i for i, token in enumerate([*SPECIAL, *words])}

    def tokenize(text: str) -> list[int]:
        return [0, *(ids[f"{word}</w>"] for word in text.split() if f"{word}</w>" in ids), 1]

    return Vocabulary(ids, frozenset(SPECIAL), 12, tokenize, end_id=1)


def space(encoder: TextEncoder) -> EmbeddingSpace:
    """The embedding space of a model with one encoder."""
    return EmbeddingSpace({"text": encoder}, model="toy")


def text(space: EmbeddingSpace) -> TextEncoder:
    """The one encoder of a space."""
    (encoder,) = space.encoders.values()
    return encoder


def shared(source: EmbeddingSpace, target: EmbeddingSpace, count: int | None = None) -> Support:
    """The (first) tokens that two spaces share."""
    support = support_of(source, target)
    return support.only(support.entries[:count])


def rows(space: EmbeddingSpace, numbers: Sequence[int]) -> Tensor:
    """Rows [S, D] of some of NAMES."""
    return text(space).rows([WORDS[number] for number in numbers])


def table(width: int, seed: int, words: int = len(WORDS)) -> np.ndarray:
    """Random rows [words, width], float32."""
    return np.random.default_rng(seed).normal(size=(words, width)).astype(np.float32)
