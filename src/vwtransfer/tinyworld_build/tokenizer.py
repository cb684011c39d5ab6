"""CLIP's byte pairs: the vocabulary of most models, in which every word is one token, and others.

The second Stable Diffusion's splits a third of the words.
"""

import itertools
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from transformers import CLIPTokenizer

from vwtransfer.files import write_json, write_text
from vwtransfer.tinyworld.lexicon import words

CONTEXT = 16  # tokens of a prompt, both ends included
LONGER = 20  # of a prompt in which words are split
START, END, PAD = "<|startoftext|>", "<|endoftext|>", "!"
_SPECIAL = {"bos_token": START, "eos_token": END, "pad_token": PAD, "unk_token": END}


@cache
def byte_pairs(whole: tuple[str, ...]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges in which each of these words is one token.

    A word's merges come after those of the words before it, which therefore stay whole.
    """
    symbols = [chr(c) for c in range(ord("!"), ord("~") + 1)]
    entries = symbols + [f"{s}</w>" for s in symbols]
    made, ranks = merges_of([*word[:-1], word[-1] + "</w>"] for word in whole)
    entries += [*made, START, END]
    return {entry: i for i, entry in enumerate(dict.fromkeys(entries))}, ranks


def merges_of(texts: Iterable[Sequence[str]]) -> tuple[list[str], list[tuple[str, str]]]:
    """What texts, given by their symbols, are merged to step by step, and the merges that do it."""
    ranks: dict[tuple[str, str], int] = {}
    for text in texts:
        pieces = list(text)
        while len(pieces) > 1:
            pair = min(itertools.pairwise(pieces), key=lambda p: ranks.get(p, len(ranks)))
            ranks.setdefault(pair, len(ranks))
            pieces = merge(pieces, pair)
    return ["".join(pair) for pair in ranks], list(ranks)


def merge(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    """Joins every occurrence of a pair of neighbours."""
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def tokenizer(whole: tuple[str, ...] | None = None, context: int = CONTEXT) -> CLIPTokenizer:
    """The tokenizer; it pads with "!" (id 0), as OWL-v2's does.

    Args:
        whole: the words that are one token; None: all.
        context: tokens of a prompt.
    """
    entries, merges = byte_pairs(words() if whole is None else whole)
    return CLIPTokenizer(vocab=entries, merges=merges, model_max_length=context, **_SPECIAL)


def save_tokenizer(
    folder: Path, whole: tuple[str, ...] | None = None, context: int = CONTEXT
) -> None:
    """Writes the tokenizer as published checkpoints hold it: vocab.json, merges.txt, configs."""
    entries, merges = byte_pairs(words() if whole is None else whole)
    write_json(folder / "vocab.json", entries)
    write_text(folder / "merges.txt", "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    write_json(folder / "special_tokens_map.json", _SPECIAL)
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "CLIPTokenizer",
            **_SPECIAL,
            "do_lower_case": True,
            "errors": "replace",
            "model_max_length": context,
        },
    )
