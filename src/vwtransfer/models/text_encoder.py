"""A frozen text encoder that reads vectors in place of tokens.

Vectors are put in at the embedding lookup, under ids that exist. No token is added: encoders
that pool at the largest id would take a new token for the end of the text.

Shapes: N words, K vectors per word, D embedding width, L tokens, S support, V vocabulary.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from vwtransfer.errors import UserError, nearest
from vwtransfer.models.few_rows import on_all_threads
from vwtransfer.models.vocabulary import Vocabulary


class TextEncoder:
    """Encodes plain prompts and prompts that hold soft words.

    Args:
        vocabulary: the model's tokenizer.
        embedding: the token embedding that `forward` looks ids up in.
        forward: ids [N, L] -> features, the library's own computation.
        pooled: `forward` reads the end-of-text token alone. Attention is causal, so prompts are
            cut behind that token: exact, and cheaper.
        blocks: the transformer's blocks in their order, each giving [N, L, D]; None where there are
            none to look into.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        embedding: nn.Embedding,
        forward: Callable[[Tensor], Tensor],
        *,
        pooled: bool,
        blocks: nn.ModuleList | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self.embedding = embedding
        self.forward = forward
        self.pooled = pooled
        self.blocks = blocks
        self._prompts: dict[tuple[str, int, bool, torch.device], tuple[Tensor, int]] = {}

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Features of plain prompts, one row each."""
        ids = [self.vocabulary.encode(text) for text in texts]
        return self.forward(self._tensor(ids, to_end=self.pooled))

    def encode_words(self, template: str, vectors_NKD: Tensor, *, to_end: bool = False) -> Tensor:
        """Features of `template` with each word in its place; differentiable in the vectors.

        Args:
            template: a prompt with a place for the word.
            vectors_NKD: the words.
            to_end: nothing is read behind the end of the text, as always where `pooled`.

        Raises:
            UserError: the prompt is longer than the encoder reads.
        """
        N, K, _ = vectors_NKD.shape
        ids_1L, first = self._prompt(template, K, self.pooled or to_end)

        def put_in(_module: nn.Module, _inputs: Any, embedded_NLD: Tensor) -> Tensor:
            vectors = vectors_NKD.to(embedded_NLD.dtype)
            before, after = embedded_NLD[:, :first], embedded_NLD[:, first + K :]
            return torch.cat([before, vectors, after], dim=1)

        hook = self.embedding.register_forward_hook(put_in)
        try:
            with on_all_threads():
                return self.forward(ids_1L.expand(N, -1))
        finally:
            hook.remove()

    def _prompt(self, template: str, vectors: int, to_end: bool) -> tuple[Tensor, int]:
        """Ids [1, L] and the word's first place; what every step asks is made once."""
        key = (template, vectors, to_end, self.embedding.weight.device)
        if key not in self._prompts:
            ids, first = self.vocabulary.prompt(template, vectors)
            self._prompts[key] = self._tensor([ids], to_end=to_end), first
        return self._prompts[key]

    def _tensor(self, ids: list[list[int]], *, to_end: bool) -> Tensor:
        ids_NL = torch.tensor(ids, device=self.embedding.weight.device)
        if to_end:
            longest = max(self.vocabulary.end(row) for row in ids)
            ids_NL = ids_NL[:, : longest + 1]
        return ids_NL

    @property
    def tokens(self) -> list[str]:
        """Token strings of the vocabulary, without the special ones."""
        return self.vocabulary.tokens

    @property
    def width(self) -> int:
        """D, the width of a token's embedding."""
        return self.embedding.embedding_dim

    def rows(self, tokens: Sequence[str]) -> Tensor:
        """Embeddings [S, D] (float32, CPU) of vocabulary entries such as "cat</w>".

        Raises:
            UserError: an entry is not in the vocabulary.
        """
        ids = self.vocabulary.ids
        for token in tokens:
            if token not in ids:
                raise UserError(f"{token!r} is not in the vocabulary. {nearest(token, ids)}")
        return self._table_VD[[ids[token] for token in tokens]]

    def word_row(self, word: str) -> Tensor:
        """Embedding [D] of a word that is one token."""
        return self.rows([word.lower() + "</w>"])[0]

    def name_rows(self, name: str) -> Tensor:
        """Embeddings [K, D] of the tokens that a name is read as."""
        ids = self.vocabulary.encode(name)
        return self._table_VD[ids[1 : self.vocabulary.end(ids)]]

    @cached_property
    def identity(self) -> str:
        """Hash of the token table and its tokens: two encoders that share it map alike."""
        digest = hashlib.sha256(repr(sorted(self.vocabulary.ids.items())).encode())
        digest.update(self._table_VD.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def _table_VD(self) -> Tensor:
        return self.embedding.weight.detach().float().cpu()
