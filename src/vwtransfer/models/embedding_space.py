"""A model's embedding space: its text encoders side by side.

A word is one tensor [N, K, D], D the sum of the encoders' widths; an encoder takes its slice.

Shapes: N words, K vectors per word, D embedding width, S support, E encoders.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from vwtransfer.errors import UserError, nearest
from vwtransfer.models.support import Support
from vwtransfer.models.text_encoder import ROWS_AT_ONCE, Encoded, TextEncoder
from vwtransfer.models.vocabulary import Vocabulary, check_single_token


@dataclass(frozen=True)
class Prompts:
    """Prompts as a model's text encoders read them.

    Attributes:
        encoded: for each encoder by name, what it makes of the N prompts.
    """

    encoded: Mapping[str, Encoded]

    @property
    def only(self) -> Encoded:
        """Of a model with one encoder, what that one makes of them."""
        (encoded,) = self.encoded.values()
        return encoded

    @property
    def states_NLD(self) -> Tensor:
        """The states of every token, of a model with one encoder that gives them."""
        return self.states(*self.encoded)

    @property
    def pooled_NE(self) -> Tensor:
        """What is read off the prompts, of a model with one encoder that gives it."""
        return self.pooled(*self.encoded)

    def states(self, encoder: str) -> Tensor:
        """The states [N, L, D] that one of the encoders gives."""
        states_NLD = self.encoded[encoder].states_NLD
        assert states_NLD is not None
        return states_NLD

    def pooled(self, encoder: str) -> Tensor:
        """The pooled feature [N, E] that one of the encoders gives."""
        pooled_NE = self.encoded[encoder].pooled_NE
        assert pooled_NE is not None
        return pooled_NE

    def __len__(self) -> int:
        return len(next(iter(self.encoded.values())))

    def __getitem__(self, rows: slice) -> "Prompts":
        return self._map(lambda tensor: tensor[rows])

    def repeat_interleave(self, repeats: int) -> "Prompts":
        """Each prompt `repeats` times, one after the other."""
        return self._map(lambda tensor: tensor.repeat_interleave(repeats, dim=0))

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Prompts":
        return Prompts({name: encoded.map(change) for name, encoded in self.encoded.items()})


class EmbeddingSpace:
    """The text encoders of one model.

    Args:
        encoders: by name, in the order in which the model reads them.
        eligible: token strings that count as neighbours and for maps, or a file with one a line;
            an encoder takes those that it holds. None: all tokens but the special ones.
        model: the model's name, for messages.
    """

    def __init__(
        self,
        encoders: Mapping[str, TextEncoder],
        eligible: Sequence[str] | str | Path | None = None,
        model: str = "",
    ) -> None:
        self.encoders = dict(encoders)
        self.model = model
        ends = list(accumulate(encoder.width for encoder in self.encoders.values()))
        self.slices = {
            name: slice(start, end)
            for name, start, end in zip(self.encoders, [0, *ends], ends, strict=False)
        }
        self.width = ends[-1]
        self._given = eligible
        self._nearest: dict[str, Tensor] = {}

    @property
    def vocabularies(self) -> dict[str, Vocabulary]:
        """By the names of the encoders."""
        return {name: encoder.vocabulary for name, encoder in self.encoders.items()}

    @property
    def device(self) -> torch.device:
        """Where the encoders run."""
        return self._first.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the (first) encoder."""
        return self._first.embedding.weight.dtype

    @cached_property
    def identity(self) -> str:
        """Hash of tokenizers and tables: words of one space have the same meaning in another."""
        identities = [encoder.identity for encoder in self.encoders.values()]
        if len(identities) == 1:
            return identities[0]
        return hashlib.sha256(" ".join(identities).encode()).hexdigest()[:16]

    @cached_property
    def weights_identity(self) -> str:
        """Hash of the encoders' weights; see `TextEncoder.weights_identity`."""
        hashes = " ".join(encoder.weights_identity for encoder in self.encoders.values())
        return hashlib.sha256(hashes.encode()).hexdigest()[:16]

    @cached_property
    def eligible(self) -> dict[str, list[str]]:
        """Token strings that count, by the names of the encoders.

        Raises:
            UserError: the file cannot be read, or names a token that no encoder has.
        """
        return eligible_tokens(self.vocabularies, self._given, self.model)

    def encode_text(self, texts: Sequence[str], *, to_end: bool = False) -> Prompts:
        """Plain prompts as each encoder reads them; see `TextEncoder.encode_text`."""
        return Prompts({n: e.encode_text(texts, to_end=to_end) for n, e in self.encoders.items()})

    def encode_words(self, template: str, words_NKD: Tensor, *, to_end: bool = False) -> Prompts:
        """A template with each word in its place; see `TextEncoder.encode_words`."""
        parts = {name: words_NKD[..., part] for name, part in self.slices.items()}
        encoders = self.encoders.items()
        return Prompts({n: e.encode_words(template, parts[n], to_end=to_end) for n, e in encoders})

    def is_single_token(self, anchor: str) -> bool:
        """Whether each encoder reads a word as one token."""
        return all(v.word_id(anchor) is not None for v in self.vocabularies.values())

    def check_single_token(self, anchor: str) -> None:
        """Refuses a word that an encoder splits; see `vocabulary.check_single_token`."""
        check_single_token(anchor, self.model, self.vocabularies)

    def anchor_tokens(self, anchor: str) -> dict[str, list[str]]:
        """Token strings that each encoder reads a word as, by the encoders' names."""
        return {n: v.strings(v.token_ids(anchor)) for n, v in self.vocabularies.items()}

    def anchor_rows(self, anchors: Sequence[str]) -> Tensor:
        """Embeddings [N, D] (float32, CPU) of words.

        In each encoder it is the row of the single token that a word is read as in a prompt, or the
        mean of its tokens' rows where it is split.

        Raises:
            UserError: an encoder does not know the word at all.
        """
        return torch.stack([self._anchor_row(anchor) for anchor in anchors])

    def token_rows(self, support: Support) -> Tensor:
        """Embeddings [S, D] (float32, CPU) of a support's entries.

        Raises:
            UserError: an entry is not in an encoder's vocabulary.
        """
        encoders = self.encoders.values()
        if support.of_tokens:
            return torch.cat([encoder.rows(support.entries) for encoder in encoders], dim=1)
        return torch.cat([_word_rows(encoder, support.entries) for encoder in encoders], dim=1)

    def nearest_distance(self, anchor: str) -> Tensor:
        """Distance [E] (float64) from a word's row to the nearest other eligible token's.

        Delta times it is the radius of the ball that a constrained word stays in (section 5 of the
        paper), one for each encoder. Rows equal to the anchor's are the anchor.

        Raises:
            UserError: an encoder splits the word.
        """
        if anchor not in self._nearest:
            self.check_single_token(anchor)
            anchor_D = self.anchor_rows([anchor])[0]
            self._nearest[anchor] = torch.stack(
                [
                    _nearest(self._eligible_rows[name], anchor_D[slice_])
                    for name, slice_ in self.slices.items()
                ]
            )
        return self._nearest[anchor]

    @property
    def _first(self) -> TextEncoder:
        return next(iter(self.encoders.values()))

    @cached_property
    def _eligible_rows(self) -> dict[str, Tensor]:
        return {name: e.rows(self.eligible[name]) for name, e in self.encoders.items()}

    def _anchor_row(self, anchor: str) -> Tensor:
        rows = []
        for name, encoder in self.encoders.items():
            ids = encoder.vocabulary.token_ids(anchor)
            if not ids:
                raise UserError(f"anchor={anchor}: the text encoder {name!r} reads nothing there.")
            rows.append(encoder.rows_of(ids).mean(dim=0))
        return torch.cat(rows)


def eligible_tokens(
    vocabularies: Mapping[str, Vocabulary],
    given: Sequence[str] | str | Path | None,
    model: str = "",
) -> dict[str, list[str]]:
    """Token strings that count in each of a model's vocabularies; see `EmbeddingSpace`.

    Raises:
        UserError: the file cannot be read, or names a token that no encoder has.
    """
    if given is None:
        return {name: vocabulary.tokens for name, vocabulary in vocabularies.items()}
    key = f"model.{model}.support"
    if isinstance(given, str | Path):
        key = f"{key}={given}"
        try:
            given = Path(given).read_text(encoding="utf-8").split()
        except OSError as error:
            raise UserError(f"{key}: {error.strerror}") from error
    held = {name: set(vocabulary.tokens) for name, vocabulary in vocabularies.items()}
    unknown = [token for token in given if not any(token in tokens for tokens in held.values())]
    if unknown:
        valid = nearest(unknown[0], [t for v in vocabularies.values() for t in v.tokens])
        raise UserError(
            f"{key}: {unknown[0]!r} is not a token of this model ({len(unknown)} of {len(given)} "
            f"are not). {valid}"
        )
    chosen = {name: [token for token in given if token in held[name]] for name in vocabularies}
    for name, tokens in chosen.items():
        if not tokens:
            raise UserError(f"{key}: it names no token of the text encoder {name!r}.")
    return chosen


def _word_rows(encoder: TextEncoder, words: Sequence[str]) -> Tensor:
    ids = encoder.vocabulary.words
    for word in words:
        if word not in ids:
            raise UserError(f"{word!r} is not one token. {nearest(word, ids)}")
    return encoder.rows_of([ids[word] for word in words])


def _nearest(tokens_SD: Tensor, anchor_D: Tensor) -> Tensor:
    """Distance (float64, no dimension) to the nearest row that is another than the anchor's."""
    parts = tokens_SD.split(ROWS_AT_ONCE)
    distance_S = torch.cat(
        [torch.linalg.vector_norm(part_SD.double() - anchor_D.double(), dim=1) for part_SD in parts]
    )
    return distance_S[distance_S > 0].min()
