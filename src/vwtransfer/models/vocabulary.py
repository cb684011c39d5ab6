"""One face for the tokenizers of transformers and open_clip: text to ids, tokens to rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vwtransfer.errors import UserError

WORD_END = "</w>"  # CLIP's byte-pair encoding marks the last token of a word


@dataclass(frozen=True)
class Vocabulary:
    """What a text encoder can read.

    Attributes:
        ids: token string (such as "cat</w>") -> id, special tokens included.
        special: the start, end, padding and unknown tokens.
        end_id: id of the end-of-text token, where CLIP-style encoders pool.
        context_length: tokens the encoder reads at most, both ends included.
        tokenize: text -> ids with both ends, padded to at least `context_length`, not truncated.
    """

    ids: Mapping[str, int]
    special: frozenset[str]
    end_id: int
    context_length: int
    tokenize: Callable[[str], list[int]]

    @cached_property
    def tokens(self) -> list[str]:
        """Token strings without the special ones, in the order of their ids."""
        return [t for t in sorted(self.ids, key=self.ids.__getitem__) if t not in self.special]

    def is_single_token(self, word: str) -> bool:
        """Whether `word` is read as one token."""
        return self._inner(word) == [self.ids.get(word.lower() + WORD_END)]

    def encode(self, text: str) -> list[int]:
        """The `context_length` ids of `text`, as the library pads it.

        Raises:
            UserError: the text is longer than the encoder reads.
        """
        ids = self.tokenize(text)
        length = ids.index(self.end_id) + 1
        if length > self.context_length:
            raise UserError(
                f"prompt {text!r} has {length} tokens; this text encoder reads at most "
                f"{self.context_length}. Shorten the template or use fewer vectors a word."
            )
        return ids[: self.context_length]

    def end(self, ids: list[int]) -> int:
        """Position of the end-of-text token in `ids`."""
        return ids.index(self.end_id)

    def prompt(self, template: str, vectors: int) -> tuple[list[int], int]:
        """Ids of `template` with `vectors` places for a word, and the first of these places.

        The places hold an ordinary token that exists; its embedding is replaced at the lookup.
        """
        blank = self._blank(template)
        ids = self.encode(template.format(" ".join([blank] * vectors)))
        return ids, ids.index(self.ids[blank + WORD_END])

    def _blank(self, template: str) -> str:
        """A word of one token that `template` does not use."""
        for token in self.tokens:
            word = token.removesuffix(WORD_END)
            ordinary = token != word and word.isascii() and word.isalpha() and len(word) > 1
            ordinary = ordinary and word not in template.lower()
            if ordinary and self.is_single_token(word):
                return word
        raise UserError("the tokenizer has no ordinary word of one token")

    def _inner(self, text: str) -> list[int]:
        ids = self.tokenize(text)
        return ids[1 : ids.index(self.end_id)]


def of_transformers(tokenizer: Any, context_length: int) -> Vocabulary:
    """The vocabulary of a transformers CLIPTokenizer; it pads by its own rule."""
    return Vocabulary(
        ids=tokenizer.get_vocab(),
        special=frozenset(tokenizer.all_special_tokens),
        end_id=tokenizer.eos_token_id,
        context_length=context_length,
        tokenize=lambda text: (
            tokenizer(
                text, padding="max_length", max_length=context_length, truncation=False
            ).input_ids
        ),
    )


def of_open_clip(tokenizer: Any, context_length: int) -> Vocabulary:
    """The vocabulary of an open_clip tokenizer: its own byte-pair one, or a wrapped other."""
    longer = 4 * context_length  # open_clip truncates without a word: leave room to notice

    def tokenize(text: str) -> list[int]:
        return tokenizer([text], context_length=longer)[0].tolist()

    wrapped = getattr(tokenizer, "tokenizer", None)
    if wrapped is not None:
        special, ids = wrapped.all_special_tokens, wrapped.get_vocab()
        end_id = wrapped.eos_token_id
    else:
        special = [tokenizer.decoder[number] for number in tokenizer.all_special_ids]
        ids = _hub_names(tokenizer.encoder)
        end_id = tokenizer.eot_token_id
    return Vocabulary(ids, frozenset(map(_hub_name, special)), end_id, context_length, tokenize)


def _hub_name(token: str) -> str:
    return {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}.get(
        token, token
    )


def _hub_names(ids: Mapping[str, int]) -> dict[str, int]:
    """open_clip's token strings under the names that transformers gives them."""
    return {_hub_name(token): number for token, number in ids.items()}
