"""The tokenizer of all but the SigLIP: CLIP's byte pairs, in which every word is one token."""

import itertools
from functools import cache
from pathlib import Path

from transformers import CLIPTokenizer

from vwtransfer.files import write_json, write_text
from vwtransfer.tinyworld.lexicon import words

CONTEXT = 16  # tokens of a prompt, both ends included
START, END, PAD = "<|startoftext|>", "<|endoftext|>", "!"
_SPECIAL = {"bos_token": START, "eos_token": END, "pad_token": PAD, "unk_token": END}


@cache
def byte_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges in which every word is one token.

    A word's merges come after those of the words before it, which therefore stay whole.
    """
    symbols = [chr(c) for c in range(ord("!"), ord("~") + 1)]
    entries = symbols + [f"{s}</w>" for s in symbols]
    ranks: dict[tuple[str, str], int] = {}
    for word in words():
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            pair = min(itertools.pairwise(pieces), key=lambda p: ranks.get(p, len(ranks)))
            if pair not in ranks:
                ranks[pair] = len(ranks)
                entries.append("".join(pair))
            pieces = merge(pieces, pair)
    entries += [START, END]
    return {entry: i for i, entry in enumerate(dict.fromkeys(entries))}, list(ranks)


def merge(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    """Joins every occurrence of a pair of neighbours."""
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def tokenizer() -> CLIPTokenizer:
    """The tokenizer; it pads with "!" (id 0) to 16 tokens, as OWL-v2's does."""
    entries, merges = byte_pairs()
    return CLIPTokenizer(vocab=entries, merges=merges, model_max_length=CONTEXT, **_SPECIAL)


def save_tokenizer(folder: Path) -> None:
    """Writes the tokenizer as published checkpoints hold it: vocab.json, merges.txt, configs."""
    entries, merges = byte_pairs()
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
            "model_max_length": CONTEXT,
        },
    )
