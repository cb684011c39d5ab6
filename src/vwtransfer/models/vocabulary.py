"""One face for the tokenizers of transformers and open_clip: text to ids, tokens to words.

Tokenizers differ in how a token's string shows that it begins or ends a word:

    clip_bpe           "cat</w>"     CLIP: the last token of a word is marked
    wordpiece          "cat"         BERT: what continues a word is marked, "##s"
    unigram            "▁cat"        T5, SigLIP 1: the blank before a word is its first token's
    sentencepiece_bpe  "▁cat"        Gemma, SigLIP 2: the same, unknown characters as bytes "<0xE2>"
    byte_bpe           "Ġcat"        Qwen, GPT-2: the same, over bytes (Ġ stands for the blank)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import takewhile
from textwrap import shorten
from typing import Any, Literal

from vwtransfer.errors import UserError, nearest

Kind = Literal["clip_bpe", "wordpiece", "unigram", "sentencepiece_bpe", "byte_bpe"]
ReadPosition = Literal["end", "last", "first"]
WORD_END = "</w>"
BLANK = {"unigram": "▁", "sentencepiece_bpe": "▁", "byte_bpe": "Ġ"}
KEPT = 2**13  # texts whose ids are kept: most prompts are located first, and then encoded


@dataclass(frozen=True)
class Vocabulary:
    """What a text encoder can read.

    Attributes:
        ids: token string (such as "cat</w>") -> id, special tokens included.
        special: the start, end, padding and unknown tokens.
        context_length: tokens the encoder reads at most, special ones included.
        tokenize: text -> ids with the special tokens that the library adds, without padding.
        kind: of tokenizer; see the module.
        end_id: id of the end-of-text token, where there is one.
        pad_id: id that prompts are filled up with to `context_length`; None: they are not.
        pad_left: whether padding stands before the prompt.
        masked: whether the encoder is told which places are padding.
        causal: whether a token sees only those before it.
        read_position: where the encoder reads a prompt off: "end" (the end-of-text token), "last"
            (the last place, padding or not), "first" (the first token); None: nowhere, its states
            are what is read.
    """

    ids: Mapping[str, int]
    special: frozenset[str]
    context_length: int
    tokenize: Callable[[str], list[int]]
    kind: Kind = "clip_bpe"
    end_id: int | None = None
    pad_id: int | None = None
    pad_left: bool = False
    masked: bool = False
    causal: bool = True
    read_position: ReadPosition | None = "end"

    _prompts: dict[tuple[str, int], tuple[list[int], int]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def tokens(self) -> list[str]:
        """Token strings without the special ones, in the order of their ids."""
        return [t for t in sorted(self.ids, key=self.ids.__getitem__) if t not in self.special]

    @cached_property
    def words(self) -> dict[str, int]:
        """Text of each whole-word token -> its id, in the order of ids.

        It goes by how tokens are spelt; of few of them `word_id` says that the tokenizer has
        another use for their text (CLIP's "2014</w>": digits are tokens of their own).
        """
        spelt = ((self.spelling(token), self.ids[token]) for token in self.tokens)
        return {text: number for (text, whole), number in spelt if whole}

    def spelling(self, token: str) -> tuple[str, bool]:
        """The text of a token without marks, and whether it is a whole word's."""
        if self.kind == "clip_bpe":
            text, whole = token.removesuffix(WORD_END), token.endswith(WORD_END)
        elif self.kind == "wordpiece":
            text, whole = token.removeprefix("##"), not token.startswith("##")
        else:
            text, whole = token.removeprefix(BLANK[self.kind]), token.startswith(BLANK[self.kind])
        if self.kind in ("clip_bpe", "byte_bpe") and not text.isascii():
            text = _of_bytes(text)
            whole = whole and "\N{REPLACEMENT CHARACTER}" not in text
        blank = not text or any(letter.isspace() or letter == "▁" for letter in text)
        return text, whole and not blank

    def token_ids(self, text: str) -> list[int]:
        """Ids of `text` read after a space, as in a prompt."""
        before, both = self._lone_word, self.tokenize(f"a {text}")
        pairs = takewhile(lambda pair: pair[0] == pair[1], zip(before, both, strict=False))
        first = sum(1 for _ in pairs)
        return both[first : first + len(both) - len(before)]

    def word_id(self, word: str) -> int | None:
        """Id of the one token that `word` is read as after a space; None: split, or unknown."""
        own = self.token_ids(word)
        return own[0] if len(own) == 1 and own[0] not in self._special_ids else None

    def strings(self, ids: Sequence[int]) -> list[str]:
        """Token strings of ids."""
        string_of = {number: token for token, number in self.ids.items()}
        return [string_of[number] for number in ids]

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, as the library pads it.

        Raises:
            UserError: the text is longer than the encoder reads.
        """
        return self._padded(self.tokenize(text), text)

    def prompt(self, template: str, num_vectors: int) -> tuple[list[int], int]:
        """Ids of `template` with `num_vectors` places for a word, and the first of these places.

        The places hold an ordinary token that exists; its embedding is replaced at the lookup.

        Raises:
            UserError: the prompt is longer than the encoder reads.
        """
        ids, first = self._with_places(template, num_vectors)
        padded = self._padded(ids, template.format(" ".join(["*"] * num_vectors)))
        return padded, first + self._shift(ids, padded)

    def locate(self, template: str, text: str) -> tuple[list[int], int, int]:
        """Ids of a template with `text` in it, the first place of its own tokens, and how many.

        Raises:
            UserError: the prompt is longer than the encoder reads.
        """
        with_place, first = self._with_places(template, 1)
        prompt = template.format(text)
        ids = self.tokenize(prompt)
        padded = self._padded(ids, prompt)
        return padded, first + self._shift(ids, padded), len(ids) - len(with_place) + 1

    def mask(self, ids: Sequence[int]) -> list[int]:
        """1 for each token of an encoded text, 0 for padding."""
        inward = ids if self.pad_left else ids[::-1]
        padding = sum(1 for _ in takewhile(lambda number: number == self.pad_id, inward))
        if padding and not self.pad_left and self._nothing[-1:] == [self.pad_id]:
            padding -= 1  # the text's own end
        tokens = [1] * (len(ids) - padding)
        return [0] * padding + tokens if self.pad_left else tokens + [0] * padding

    def read_index(self, ids: Sequence[int]) -> int:
        """The place of an encoded text at which it is read off, or its last token's."""
        if self.read_position == "end" and self.end_id is not None:
            return list(ids).index(self.end_id)
        if self.read_position == "last":
            return len(ids) - 1
        mask = self.mask(ids)
        first = self.read_position == "first"
        return mask.index(1) if first else len(mask) - 1 - mask[::-1].index(1)

    def _with_places(self, template: str, num_vectors: int) -> tuple[list[int], int]:
        """See `prompt`; without padding."""
        key = template, num_vectors
        if key not in self._prompts:
            self._prompts[key] = self._find_places(template, num_vectors)
        return self._prompts[key]

    def _find_places(self, template: str, num_vectors: int) -> tuple[list[int], int]:
        for word in self._fillers(template):
            ids = self.tokenize(template.format(" ".join([word] * num_vectors)))
            # at the start of a text or behind a bracket there is no space before it
            own = {self.words[word], self.ids.get(word)}
            places = [place for place, number in enumerate(ids) if number in own]
            if places and places == list(range(places[0], places[0] + num_vectors)):
                return ids, places[0]
        raise UserError(f"prompt {template!r}: no word is read as one token where {{}} stands")

    def _fillers(self, template: str) -> Iterator[str]:
        """Ordinary words of one token that `template` does not use."""
        for word, number in self.words.items():
            ordinary = word.isascii() and word.isalpha() and len(word) > 1
            if ordinary and word.lower() not in template.lower() and self.word_id(word) == number:
                yield word

    def _padded(self, ids: list[int], text: str) -> list[int]:
        if len(ids) > self.context_length:
            raise UserError(
                f"prompt {shorten(text, 80)!r} has {len(ids)} tokens; this text encoder reads at "
                f"most {self.context_length}. Shorten the template or use fewer vectors a word."
            )
        if self.pad_id is None:
            return ids
        padding = [self.pad_id] * (self.context_length - len(ids))
        return padding + ids if self.pad_left else ids + padding

    def _shift(self, ids: list[int], padded: list[int]) -> int:
        return len(padded) - len(ids) if self.pad_left else 0

    @cached_property
    def _nothing(self) -> list[int]:
        return self.tokenize("")

    @cached_property
    def _lone_word(self) -> list[int]:
        return self.tokenize("a")

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset(self.ids[token] for token in self.special if token in self.ids)


def of_transformers(
    tokenizer: Any,
    context_length: int,
    *,
    causal: bool = True,
    read_position: ReadPosition | None = "end",
    padded: bool = True,
) -> Vocabulary:
    """The vocabulary of a transformers tokenizer.

    Args:
        tokenizer: any of its fast tokenizers.
        context_length: tokens the encoder reads at most.
        causal: whether a token sees only those before it.
        read_position: see `Vocabulary`.
        padded: whether prompts are filled up to `context_length`; not, where the encoder is told
            which places are padding and the longest of a batch is enough.
    """
    return Vocabulary(
        ids=tokenizer.get_vocab(),
        special=_special(tokenizer),
        context_length=context_length,
        tokenize=lru_cache(KEPT)(lambda text: list(tokenizer(text, truncation=False).input_ids)),
        kind=kind_of(tokenizer),
        end_id=tokenizer.eos_token_id,
        pad_id=tokenizer.pad_token_id if padded else None,
        pad_left=tokenizer.padding_side == "left",
        masked="attention_mask" in tokenizer.model_input_names,
        causal=causal,
        read_position=read_position,
    )


def of_open_clip(
    tokenizer: Any,
    context_length: int,
    *,
    causal: bool = True,
    read_position: ReadPosition | None = "end",
) -> Vocabulary:
    """The vocabulary of an open_clip tokenizer: its own byte-pair one, or a wrapped other.

    Raises:
        ValueError: the tokenizer puts a class token behind the padding.
    """
    wrapped = getattr(tokenizer, "tokenizer", None)
    if wrapped is None:
        special = [tokenizer.decoder[number] for number in tokenizer.all_special_ids]
        return Vocabulary(
            ids={hub_name(token): number for token, number in tokenizer.encoder.items()},
            special=frozenset(map(hub_name, special)),
            context_length=context_length,
            tokenize=lambda text: [
                tokenizer.sot_token_id,
                *tokenizer.encode(text),
                tokenizer.eot_token_id,
            ],
            end_id=tokenizer.eot_token_id,
            pad_id=0,
            causal=causal,
            read_position=read_position,
        )
    if tokenizer.tokenizer_mode:
        raise ValueError(f"its tokenizer is of a mode of its own, {tokenizer.tokenizer_mode!r}")

    @lru_cache(KEPT)
    def tokenize(text: str) -> list[int]:
        ids = wrapped(tokenizer.clean_fn(text), truncation=False).input_ids
        dropped = wrapped.sep_token_id if tokenizer.strip_sep_token else None
        return [0 if number == dropped else number for number in ids]

    known = of_transformers(wrapped, context_length, causal=causal, read_position=read_position)
    return replace(known, tokenize=tokenize, masked=False)


def kind_of(tokenizer: Any) -> Kind:
    """The kind of a transformers tokenizer, by its model and by how most of its tokens begin."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or type(backend.model).__name__ == "Unigram":
        return "unigram"
    if type(backend.model).__name__ == "WordPiece":
        return "wordpiece"
    if getattr(backend.model, "end_of_word_suffix", None) == WORD_END:
        return "clip_bpe"
    blanks = [sum(token.startswith(blank) for token in tokenizer.get_vocab()) for blank in "▁Ġ"]
    return "sentencepiece_bpe" if blanks[0] > blanks[1] else "byte_bpe"


def check_single_token(anchor: str, model: str, vocabularies: Mapping[str, Vocabulary]) -> None:
    """Refuses an anchor that an encoder of a model splits.

    Args:
        anchor: the word.
        model: the model's name, for the message.
        vocabularies: of its encoders, by name.

    Raises:
        UserError: says which words are close to it.
    """
    for name, vocabulary in vocabularies.items():
        if vocabulary.word_id(anchor) is None:
            encoder = f" ({name})" if len(vocabularies) > 1 else ""
            raise UserError(
                f"anchor={anchor}: not a single token of model.{model}{encoder}. "
                f"{nearest(anchor, vocabulary.words)}"
            )


def _special(tokenizer: Any) -> frozenset[str]:
    """Tokens that stand for no text, the ones without a role included ("<extra_id_0>")."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    return frozenset([*tokenizer.all_special_tokens, *(t.content for t in added if t.special)])


def hub_name(token: str) -> str:
    """A token of open_clip's own tokenizer under the name that transformers gives it."""
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    return names.get(token, token)


def _of_bytes(text: str) -> str:
    """The text whose bytes GPT-2's alphabet writes as these characters."""
    from tokenizers.decoders import ByteLevel

    decoded: str = ByteLevel().decode([text])
    return decoded
