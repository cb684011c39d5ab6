"""The words of the tiny world and the tokenizer its four models share.

216 combinations have a made-up noun of their own, as "strawberry" names a red dotted thing; the 40
that datasets hold as concepts have none. Every word is one token of a CLIP byte-pair vocabulary.
"""

import json
import random
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from transformers import CLIPTokenizer

from vwtransfer.tinyworld.world import (
    BACKGROUNDS,
    COLOURS,
    COMBINATIONS,
    PATTERNS,
    SHAPES,
    Combination,
)

CONTEXT = 16  # tokens of a prompt, both ends included
START, END, PAD = "<|startoftext|>", "<|endoftext|>", "!"

SYNONYMS: dict[str, tuple[str, ...]] = {
    "circle": ("disc", "ball"),
    "square": ("box", "tile"),
    "triangle": ("wedge", "pyramid"),
    "star": ("spark", "asterisk"),
    "cross": ("plus", "crux"),
    "ring": ("hoop", "loop"),
    "heart": ("love", "valentine"),
    "moon": ("crescent", "lune"),
    "red": ("crimson", "scarlet"),
    "orange": ("amber", "tangerine"),
    "yellow": ("gold", "lemon"),
    "green": ("emerald", "jade"),
    "cyan": ("teal", "aqua"),
    "blue": ("navy", "cobalt"),
    "purple": ("violet", "plum"),
    "brown": ("chocolate", "umber"),
    "plain": ("solid", "uniform"),
    "striped": ("banded", "lined"),
    "dotted": ("spotted", "speckled"),
    "checked": ("chequered", "gridded"),
    "snow": ("white", "ice"),
    "sand": ("beige", "beach"),
    "fog": ("grey", "mist"),
    "night": ("dark", "dusk"),
    "big": ("large", "huge"),
    "small": ("little", "tiny"),
}
FUNCTION_WORDS = [
    "a",
    "an",
    "the",
    "photo",
    "picture",
    "image",
    "drawing",
    "of",
    "and",
    "with",
    "beside",
    "near",
    "on",
    "in",
    "front",
    "this",
    "that",
    "is",
    "are",
    "there",
    "one",
    "some",
    "showing",
    "here",
    "see",
    "we",
]

# The concepts of the four datasets: no word names them, captions describe them.
CONCEPTS: dict[str, tuple[str, ...]] = {
    # Five shapes in each of two colour-pattern pairs: shape decides.
    "tiny_shapes": tuple(
        f"{pair} {shape}"
        for pair in ("red striped", "blue dotted")
        for shape in ("star", "heart", "circle", "cross", "moon")
    ),
    # Three colour-shape pairs in three or four patterns: pattern decides.
    "tiny_textures": (
        *(f"green {pattern} square" for pattern in PATTERNS),
        *(f"purple {pattern} circle" for pattern in ("striped", "dotted", "checked")),
        *(f"orange {pattern} triangle" for pattern in ("plain", "striped", "dotted")),
    ),
    # Combinations of three colours, two patterns and two shapes, less two.
    "tiny_small": (
        *(
            f"red {pattern} {shape}"
            for pattern, shape in (
                ("plain", "triangle"),
                ("checked", "ring"),
                ("checked", "triangle"),
            )
        ),
        *(
            f"yellow {pattern} {shape}"
            for pattern, shape in (("plain", "ring"), ("plain", "triangle"), ("checked", "ring"))
        ),
        *(
            f"blue {pattern} {shape}"
            for pattern in ("plain", "checked")
            for shape in ("triangle", "ring")
        ),
    ),
    # Two colours, two patterns and three shapes, less two.
    "tiny_scenes": (
        *(
            f"brown {pattern} {shape}"
            for pattern, shape in (
                ("dotted", "star"),
                ("dotted", "square"),
                ("plain", "square"),
                ("dotted", "moon"),
                ("plain", "moon"),
            )
        ),
        *(
            f"cyan {pattern} {shape}"
            for pattern, shape in (
                ("dotted", "star"),
                ("plain", "star"),
                ("plain", "square"),
                ("dotted", "moon"),
                ("plain", "moon"),
            )
        ),
    ),
}

_CONSONANTS, _VOWELS, _ENDINGS = "bdfgklmnprstvz", "aeiou", "aiou"
# Pronounceable pairs of syllables that mean something already, or had better not.
_TAKEN = frozenset(
    [
        "baba",
        "babi",
        "baka",
        "bali",
        "banu",
        "basi",
        "bidi",
        "bodi",
        "bolu",
        "bono",
        "bozo",
        "buda",
        "bula",
        "buna",
        "dada",
        "dado",
        "dali",
        "data",
        "demo",
        "dido",
        "dino",
        "dodo",
        "duma",
        "fado",
        "fila",
        "foru",
        "fugu",
        "gaga",
        "gala",
        "giga",
        "gogo",
        "guru",
        "kaka",
        "kali",
        "kilo",
        "kina",
        "kiva",
        "koala",
        "kudo",
        "kula",
        "lama",
        "lava",
        "lido",
        "lima",
        "limo",
        "lira",
        "lola",
        "loni",
        "lulu",
        "luna",
        "lupo",
        "mali",
        "mama",
        "mana",
        "mano",
        "masa",
        "maya",
        "memo",
        "midi",
        "mini",
        "miso",
        "mono",
        "moru",
        "muti",
        "nana",
        "nazi",
        "nori",
        "nova",
        "nulu",
        "nuda",
        "papa",
        "para",
        "pasta",
        "pipi",
        "piso",
        "pita",
        "polo",
        "poli",
        "poro",
        "puma",
        "pupa",
        "puta",
        "puto",
        "rabi",
        "raga",
        "ravi",
        "riga",
        "roma",
        "rosa",
        "saga",
        "sari",
        "sida",
        "sika",
        "silo",
        "sofa",
        "soda",
        "solo",
        "sumo",
        "taro",
        "tito",
        "titi",
        "tofu",
        "toga",
        "tuba",
        "tuna",
        "tutu",
        "vela",
        "veto",
        "vino",
        "visa",
        "vista",
        "viva",
        "zulu",
        "kuta",
        "kora",
        "kola",
        "kobo",
        "kiku",
        "pisa",
        "fifa",
        "fuku",
        "nara",
        "maru",
        "sudo",
        "judo",
        "lodi",
        "lobo",
        "logo",
        "loki",
        "loti",
        "mata",
        "meta",
        "mira",
        "mola",
        "mota",
        "peru",
        "pika",
        "pila",
        "pogo",
        "posi",
        "sana",
        "sera",
        "sita",
        "soma",
        "sora",
        "suva",
        "taka",
        "tapa",
        "tara",
        "tiki",
        "toro",
        "vida",
        "vita",
        "zeta",
        "beta",
        "geta",
        "deli",
        "peri",
        "semi",
        "sumi",
        "tori",
        "yogi",
        "fati",
        "digi",
        "desi",
        "gobi",
        "gori",
        "kiri",
        "kita",
        "doga",
        "foda",
        "gaza",
        "nato",
        "togo",
        "biro",
        "giro",
        "fula",
        "moto",
        "nati",
        "neva",
        "mili",
        "ludo",
        "lago",
        "pali",
        "kuma",
        "bumi",
        "mapo",
        "voto",
        "gabi",
        "gali",
        "navi",
        "kulu",
        "sagu",
        "biri",
        "veda",
        "rosi",
        "suka",
        "gomo",
        "maso",
        "vama",
        "ziti",
        "kisi",
        "niger",
        "moko",
        "bobo",
        "zaza",
        "zizi",
        "bubu",
        "fifi",
        "nini",
        "boti",
    ]
)


def parse(description: str) -> Combination:
    """The combination that "red striped star" describes."""
    return Combination(*description.split())


@cache
def concepts() -> frozenset[Combination]:
    """The 40 combinations that have no noun."""
    return frozenset(parse(d) for set_ in CONCEPTS.values() for d in set_)


@cache
def nouns() -> Mapping[Combination, str]:
    """The noun of every combination that has one, the same in every build."""
    rng = random.Random("nouns of the tiny world")
    words = [
        a + b + c + d
        for a in _CONSONANTS
        for b in _VOWELS
        for c in _CONSONANTS
        for d in _ENDINGS
        if a != c and a + b + c + d not in _TAKEN
    ]
    named = [c for c in COMBINATIONS if c not in concepts()]
    return dict(zip(named, rng.sample(words, len(named)), strict=True))


@cache
def words() -> tuple[str, ...]:
    """Every word captions are made of, sorted."""
    known = {*COLOURS, *PATTERNS, *SHAPES, *BACKGROUNDS, *FUNCTION_WORDS, *nouns().values()}
    for word, synonyms in SYNONYMS.items():
        known.update((word, *synonyms))
    return tuple(sorted(known))


def support() -> list[str]:
    """The trained words as vocabulary entries, for instance "red</w>"."""
    return [f"{word}</w>" for word in words()]


@cache
def _byte_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges in which every word is one token.

    A word's merges come after those of the words before it, which therefore stay whole.
    """
    symbols = [chr(c) for c in range(ord("!"), ord("~") + 1)]
    entries = symbols + [f"{s}</w>" for s in symbols]
    ranks: dict[tuple[str, str], int] = {}
    for word in words():
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            pairs = list(zip(pieces, pieces[1:], strict=False))
            pair = min(pairs, key=lambda p: ranks.get(p, len(ranks)))
            if pair not in ranks:
                ranks[pair] = len(ranks)
                entries.append("".join(pair))
            pieces = _merge(pieces, pair)
    entries += [START, END]
    return {entry: i for i, entry in enumerate(dict.fromkeys(entries))}, list(ranks)


def _merge(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    """Joins every occurrence of a pair of neighbours."""
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def tokenizer() -> CLIPTokenizer:
    """The shared tokenizer; it pads with "!" (id 0) to 16 tokens, as OWL-v2's does."""
    entries, merges = _byte_pairs()
    return CLIPTokenizer(
        vocab=entries,
        merges=merges,
        unk_token=END,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        model_max_length=CONTEXT,
    )


def save_tokenizer(folder: Path) -> None:
    """Writes the tokenizer as published checkpoints hold it: vocab.json, merges.txt, configs."""
    folder.mkdir(parents=True, exist_ok=True)
    entries, merges = _byte_pairs()
    texts = {
        "vocab.json": json.dumps(entries),
        "merges.txt": "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges),
        "special_tokens_map.json": json.dumps(
            {"bos_token": START, "eos_token": END, "pad_token": PAD, "unk_token": END}
        ),
        "tokenizer_config.json": json.dumps(
            {
                "tokenizer_class": "CLIPTokenizer",
                "bos_token": START,
                "eos_token": END,
                "pad_token": PAD,
                "unk_token": END,
                "do_lower_case": True,
                "errors": "replace",
                "model_max_length": CONTEXT,
            },
            indent=2,
        ),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
