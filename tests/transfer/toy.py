"""Two small text encoders whose tables are known, to test maps between them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from vwtransfer.models.text_encoder import TextEncoder
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

    def forward(self, ids_NL: Tensor) -> Tensor:
        hidden = torch.tanh(self.embedding(ids_NL) @ self.first).mean(dim=1)
        return nn.functional.normalize(hidden @ self.last, dim=-1)


def encoder(table_SD: np.ndarray, seed: int = 0, words: Sequence[str] = WORDS) -> TextEncoder:
    """A text encoder whose rows for `words` are `table_SD`; special tokens stand before them."""
    width = table_SD.shape[1]
    table_VD = torch.zeros(len(words) + len(SPECIAL), width)
    table_VD[len(SPECIAL) :] = torch.from_numpy(table_SD)
    ids = {token: i for i, token in enumerate([*SPECIAL, *words])}

    def tokenize(text: str) -> list[int]:
        return [0, *(ids[f"{word}</w>"] for word in text.split() if f"{word}</w>" in ids), 1]

    vocabulary = Vocabulary(ids, frozenset(SPECIAL), 1, context_length=12, tokenize=tokenize)
    reader = Reader(table_VD, width, seed)
    return TextEncoder(vocabulary, reader.embedding, reader, pooled=True)


def table(width: int, seed: int, words: int = len(WORDS)) -> np.ndarray:
    """Random rows [words, width], float32."""
    return np.random.default_rng(seed).normal(size=(words, width)).astype(np.float32)
