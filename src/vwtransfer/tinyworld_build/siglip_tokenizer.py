"""The tokenizer of the miniature SigLIP: Gemma's kind, in lower case, with bytes for what is rare.

It splits a third of the words that CLIP's has whole (split_words.txt), most of them into halves.
"""

from functools import cache

from transformers import Siglip2Tokenizer

from vwtransfer.tinyworld.lexicon import split_words, words
from vwtransfer.tinyworld_build.tokenizer import merges_of

CONTEXT = 24  # tokens of a prompt, padding included
BLANK = "▁"
_SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))


def whole_words() -> list[str]:
    """The words that are one token."""
    return [word for word in words() if word not in split_words()]


def support() -> list[str]:
    """The trained whole words as vocabulary entries, for instance "▁red"."""
    return [BLANK + word for word in whole_words()]


@cache
def byte_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges.

    A whole word is one token after a blank and at the start of a text. Merges come in the order of
    the words, so that no later merge takes an earlier word apart.
    """
    split, whole = split_words(), whole_words()
    halves = [
        half for word in split for half in (BLANK + word[: len(word) // 2], word[len(word) // 2 :])
    ]
    entries = [*_SPECIAL, *_BYTES, BLANK, *map(chr, range(ord("!"), ord("~") + 1))]
    made, ranks = merges_of([*support(), *whole, *halves])
    return {entry: i for i, entry in enumerate(dict.fromkeys([*entries, *made]))}, ranks


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
