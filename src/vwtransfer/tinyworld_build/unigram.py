"""T5's tokenizer for the tiny world: a unigram trained on its captions.

It is of another kind than the byte pairs that the other models share, and a third of the words that
are whole there are split here: rare nouns, as in published vocabularies.
"""

import json
import random
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import T5TokenizerFast

from vwtransfer.tinyworld.world import Layout
from vwtransfer.tinyworld_build.captions import caption
from vwtransfer.tinyworld_build.pool import sample_scenes

CONTEXT = 20  # tokens of a prompt, the end included
ENTRIES = 246  # at which a third of the words is split
CAPTIONS = 8192
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
MARKS = ("", ",", ".")


def train_unigram(layout: Layout) -> Any:
    """The T5Tokenizer, trained on captions of scenes of a layout.

    Captions are punctuated at random: the trainer takes for a piece only what it meets in two
    different surroundings, so that without marks no whole word would be one.
    """
    rng = random.Random("unigram")
    scenes = sample_scenes("unigram", CAPTIONS, layout)
    captions = [caption(rng, scene, others=1.0) for scene in scenes]
    marked = [" ".join(w + rng.choice(MARKS) for w in line.split()) for line in captions]
    raw = Tokenizer(models.Unigram())
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=ENTRIES,
        special_tokens=[PAD, END, UNKNOWN],
        unk_token=UNKNOWN,
        show_progress=False,
    )
    raw.train_from_iterator(marked, trainer)
    found = [tuple(entry) for entry in json.loads(raw.to_str())["model"]["vocab"]]
    special, pieces = found[:3], found[3:]
    pieces.sort(key=lambda piece: (-piece[1], piece[0]))  # the trainer leaves ties open
    return T5TokenizerFast(vocab=[*special, *pieces], extra_ids=0, model_max_length=CONTEXT)
