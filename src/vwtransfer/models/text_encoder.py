"""A frozen text encoder that reads vectors in place of tokens.

Vectors are put in at the embedding lookup, under ids that exist. No token is added: encoders
that pool at the largest id would take a new token for the end of the text.

Shapes: N words, K vectors per word, D embedding width, L tokens, E width of pooled features,
S support.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from vwtransfer.errors import UserError, nearest
from vwtransfer.models.vocabulary import Vocabulary

ROWS_AT_ONCE = 2**14  # of an embedding table
WORDS_BY = 4
"""Words are read off in multiples of so many: repeats fill the last batch up, and are dropped.

MKL takes another kernel for fewer than four rows of a matrix product (a thread's share of them),
which rounds otherwise, and where training oscillates a difference of 1e-8 grows to half of a word.
With multiples of four the pooled feature is the same to the bit alone and among others, as measured
with one thread and two of an x86-64 processor with AVX2. States of all tokens are rows enough, but
of a SHORT prompt.
"""
SHORT = 16  # tokens


@dataclass(frozen=True)
class Encoded:
    """What a text encoder makes of prompts.

    Attributes:
        states_NLD: the state of each token, where the model reads these.
        pooled_NE: one feature of each prompt, where the model reads it.
        ids_NL: the tokens, where the model goes on to read which they are.
    """

    states_NLD: Tensor | None = None
    pooled_NE: Tensor | None = None
    ids_NL: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> "Encoded":
        """The same with each tensor changed."""
        tensors = (self.states_NLD, self.pooled_NE, self.ids_NL)
        return Encoded(*(None if tensor is None else change(tensor) for tensor in tensors))

    def __len__(self) -> int:
        given = self.pooled_NE if self.states_NLD is None else self.states_NLD
        assert given is not None
        return len(given)


Forward = Callable[[Tensor, Tensor | None], Encoded]


class TextEncoder:
    """Encodes plain prompts and prompts that hold learned words.

    Args:
        vocabulary: the encoder's tokenizer, and how it reads.
        embedding: the token embedding that `forward` looks ids up in.
        forward: ids [N, L] and mask [N, L] (1: a token, 0: padding; None where the vocabulary gives
            none) -> what the library's own computation gives.
        only_pooled: `forward` gives the pooled feature alone, so that a causal encoder's prompts
            are always cut behind the place where it is read: exact, and cheaper.
        blocks: the transformer's blocks in their order, each giving [N, L, D]; None where there are
            none to look into.

    Raises:
        ValueError: the embedding does more than to look rows up and scale them.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        embedding: nn.Embedding,
        forward: Forward,
        *,
        only_pooled: bool,
        blocks: nn.ModuleList | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self.embedding = embedding
        self.forward = forward
        self.only_pooled = only_pooled
        self.blocks = blocks
        self._scale = _scale(embedding)
        self._prompts: dict[
            tuple[str, int, bool, torch.device], tuple[Tensor, Tensor | None, int]
        ] = {}

    @property
    def width(self) -> int:
        """D, the width of a token's embedding."""
        return self.embedding.embedding_dim

    @property
    def device(self) -> torch.device:
        """Where the encoder runs."""
        return self.embedding.weight.device

    def encode_text(self, texts: Sequence[str], *, to_end: bool = False) -> Encoded:
        """What the encoder makes of plain prompts, one row each.

        Args:
            texts: the prompts.
            to_end: as `encode_words`.

        Raises:
            UserError: a prompt is longer than the encoder reads.
        """
        return self.forward(*self._tensors([self.vocabulary.encode(t) for t in texts], to_end))

    def encode_words(self, template: str, words_NKD: Tensor, *, to_end: bool = False) -> Encoded:
        """What it makes of `template` with each word in its place; differentiable in the words.

        A word is encoded alike alone and among others; see WORDS_BY.

        Args:
            template: a prompt with a place for the word.
            words_NKD: the words.
            to_end: no state is read behind the place where the prompt is read off, so that a causal
                encoder may stop there.

        Raises:
            UserError: the prompt is longer than the encoder reads.
            ValueError: `embedding` is not the module that `forward` looks ids up in.
        """
        N, K, _ = words_NKD.shape
        ids_1L, mask_1L, first = self._prompt(template, K, to_end)
        rounds_apart = self.only_pooled or ids_1L.shape[1] < SHORT
        filled = -(-N // WORDS_BY) * WORDS_BY if rounds_apart else N
        words_NKD = torch.cat([words_NKD, words_NKD.detach()[-1:].expand(filled - N, -1, -1)])
        lookups = 0

        def put_in(_module: nn.Module, _inputs: Any, embedded_NLD: Tensor) -> Tensor:
            nonlocal lookups
            lookups += 1
            words = words_NKD.to(embedded_NLD.dtype)
            if self._scale is not None:
                scale = self._scale
                words = words * (scale.to(words) if isinstance(scale, Tensor) else scale)
            before, after = embedded_NLD[:, :first], embedded_NLD[:, first + K :]
            return torch.cat([before, words, after], dim=1)

        mask_NL = None if mask_1L is None else mask_1L.expand(filled, -1)
        with self.embedding.register_forward_hook(put_in):
            encoded = self.forward(ids_1L.expand(filled, -1), mask_NL)
        if lookups != 1:  # a T5 has two modules with one table
            raise ValueError(f"the embedding given looked the prompts up {lookups} times, not once")
        return encoded.map(lambda tensor: tensor[:N])

    def rows(self, tokens: Sequence[str]) -> Tensor:
        """Embeddings [S, D] (float32, CPU) of vocabulary entries such as "cat</w>".

        Raises:
            UserError: an entry is not in the vocabulary.
        """
        ids = self.vocabulary.ids
        for token in tokens:
            if token not in ids:
                raise UserError(f"{token!r} is not in the vocabulary. {nearest(token, ids)}")
        return self.rows_of([ids[token] for token in tokens])

    def rows_of(self, ids: Sequence[int]) -> Tensor:
        """Embeddings [S, D] (float32, CPU) of token ids."""
        return self.embedding.weight.detach()[list(ids)].float().cpu()

    @cached_property
    def identity(self) -> str:
        """Hash of the token table and its tokens: two encoders that share it map alike."""
        digest = hashlib.sha256(repr(sorted(self.vocabulary.ids.items())).encode())
        for rows in self.embedding.weight.detach().split(ROWS_AT_ONCE):
            digest.update(rows.float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def weights_identity(self) -> str:
        """Hash of the identity and of the blocks' weights: two that share it read prompts alike.

        Norms and projections behind the blocks are not hashed.
        """
        digest = hashlib.sha256(f"{self.identity} {self.embedding.weight.dtype}".encode())
        for tensor in () if self.blocks is None else self.blocks.state_dict().values():
            whole = tensor.detach().cpu().contiguous()
            digest.update(whole.view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def _prompt(
        self, template: str, num_vectors: int, to_end: bool
    ) -> tuple[Tensor, Tensor | None, int]:
        """Ids and mask [1, L] and the word's first place; what every step asks is made once."""
        key = (template, num_vectors, to_end, self.device)
        if key not in self._prompts:
            ids, first = self.vocabulary.prompt(template, num_vectors)
            self._prompts[key] = *self._tensors([ids], to_end), first
        return self._prompts[key]

    def _tensors(self, rows: list[list[int]], to_end: bool) -> tuple[Tensor, Tensor | None]:
        """Ids and mask [N, L], cut where nothing that is read stands behind."""
        vocabulary = self.vocabulary
        length = max(len(ids) for ids in rows)
        if vocabulary.causal and (to_end or self.only_pooled):
            length = max(vocabulary.read_index(ids) for ids in rows) + 1
        masks = [vocabulary.mask(ids) for ids in rows]
        # rows of unpadded texts are filled up to the longest of them
        ids_NL = torch.tensor([_fitted(ids, length) for ids in rows], device=self.device)
        if not vocabulary.masked:
            return ids_NL, None
        return ids_NL, torch.tensor([_fitted(mask, length) for mask in masks], device=self.device)


def _fitted(row: list[int], length: int) -> list[int]:
    return row[:length] + [0] * (length - len(row))


def _scale(embedding: nn.Embedding) -> Tensor | float | None:
    """What an embedding multiplies its rows by (Gemma 3: the root of their width), if anything."""
    if type(embedding).forward is nn.Embedding.forward:
        return None
    scale: Tensor | float | None = getattr(embedding, "embed_scale", None)
    if scale is None:
        raise ValueError(f"{type(embedding).__name__} does more than to look embeddings up")
    return scale
