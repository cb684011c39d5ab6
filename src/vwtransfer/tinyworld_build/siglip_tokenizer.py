"""The tokenizer of the miniature SigLIP: Gemma's kind, in lower case, with bytes for what is rare.

It splits a third of the words that CLIP's has whole, most of them into halves: two in five of those
that are neither function words nor anchors of a dataset (anchors have delta balls, and these need a
single token).
"""

import itertools
from collections.abc import Iterable
from functools import cache

import yaml
from transformers import Siglip2Tokenizer

from vwtransfer.config.composition import config_folder
from vwtransfer.tinyworld.lexicon import FUNCTION_WORDS, words
from vwtransfer.tinyworld_build.tokenizer import merge

CONTEXT = 24  # tokens of a prompt, padding included
BLANK = "▁"
_SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))


@cache
def anchors() -> frozenset[str]:
    """The anchors of the tiny world's datasets."""
    files = sorted((config_folder() / "dataset").glob("tiny_*.yaml"))
    return frozenset(
        anchor
        for path in files
        for anchor in yaml.safe_load(path.read_text(encoding="utf-8"))["anchors"]
    )


def split_words() -> list[str]:
    """The words that this tokenizer splits."""
    free = [word for word in words() if word not in anchors() and word not in FUNCTION_WORDS]
    return [word for place, word in enumerate(free) if place % 5 in (0, 2)]


@cache
def byte_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges.

    A whole word is one token after a blank and at the start of a text. Merges come in the order of
    the words, so that no later merge takes an earlier word apart.
    """
    split = set(split_words())
    whole = [word for word in words() if word not in split]
    halves = [
        half
        for word in split_words()
        for half in (BLANK + word[: len(word) // 2], word[len(word) // 2 :])
    ]
    entries = [*_SPECIAL, *_BYTES, BLANK, *map(chr, range(ord("!"), ord("~") + 1))]
    made, ranks = _merges([*(BLANK + word for word in whole), *whole, *halves])
    return {entry: i for i, entry in enumerate(dict.fromkeys([*entries, *made]))}, ranks


def _merges(texts: Iterable[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """What the texts are merged to, step by step, and the merges that do it."""
    ranks: dict[tuple[str, str], int] = {}
    for text in texts:
        pieces = list(text)
        while len(pieces) > 1:
            pair = min(itertools.pairwise(pieces), key=lambda p: ranks.get(p, len(ranks)))
            ranks.setdefault(pair, len(ranks))
            pieces = merge(pieces, pair)
    return ["".join(pair) for pair in ranks], list(ranks)


def siglip_tokenizer() -> Siglip2Tokenizer:
    """The tokenizer: an end token, padded on the right, no attention mask, as SigLIP 2's is."""
    entries, merges = byte_pairs()
    return Siglip2Tokenizer(
        vocab=entries,
        merges=merges,
        add_bos_token=False,
        add_eos_token=True,
        padding_side="right",
        model_input_names=["input_ids"],
        model_max_length=CONTEXT,
    )
