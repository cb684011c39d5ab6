"""What is refused before anything is trained: anchors of folders, prompts that are too long."""

import difflib
from collections.abc import Iterable, Mapping
from itertools import islice

import torch.nn.functional as F

from vwtransfer.config import Config
from vwtransfer.errors import UserError
from vwtransfer.models import Model
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.words.cells import Cell

FOLDER = "vwtransfer.datasets.folder.Folder"
SUGGESTED = 3  # words by their spelling, and as many by their embedding
SHORTEST = 3  # letters


def check_folder_anchors(
    config: Config, models: Mapping[str, Model], cells: Iterable[Cell]
) -> None:
    """Refuses the name of a folder as an anchor where a model splits it; asked for, it may be one.

    Raises:
        UserError: names the folder, and words that are one token.
    """
    if config.composed["anchor"] not in ("all", "paired"):
        return
    folders = {
        name: set(dataset.concepts.values())
        for name, dataset in config.dataset.items()
        if dataset.node["_target_"] == FOLDER
    }
    asked = {
        (cell.model, cell.anchor) for cell in cells if cell.anchor in folders.get(cell.dataset, ())
    }
    for name, anchor in sorted(asked):
        text = models[name].text
        if text.is_single_token(anchor):
            continue
        read_as = " ".join(next(iter(text.anchor_tokens(anchor).values())))
        raise UserError(
            f"anchor={anchor}, the name of a folder, is not one token of model.{name}, which reads "
            f"{read_as}. Name a word near in meaning, with which training starts: anchor=WORD "
            f"(near in spelling or embedding: {', '.join(suggestions(text, anchor))}). "
            f"anchor={anchor} starts at the mean of these tokens."
        )


def check_fidelity_prompts(config: Config, models: Mapping[str, Model]) -> None:
    """Refuses a prompt of clip_t that a generator cannot read with a word in it.

    Raises:
        UserError: names the prompt.
    """
    if "clip_t" not in config.evaluation.metrics:
        return
    used = {*config.trained, *(target for _, target in config.direction)}
    drawing = [m for name, m in models.items() if m.task == "generation" and name in used]
    for vocabulary in (each for model in drawing for each in model.vocabularies.values()):
        for template in config.model.fidelity_prompts:
            vocabulary.prompt(template, config.trainer.num_vectors)


def suggestions(text: EmbeddingSpace, word: str) -> list[str]:
    """Words of one token in every encoder, near to `word` in spelling or to its tokens' mean."""
    name, encoder = next(iter(text.encoders.items()))
    eligible, ids = set(text.eligible[name]), encoder.vocabulary.ids
    known = {ids[token] for token in eligible if token in ids}
    words = [
        each
        for each, number in encoder.vocabulary.words.items()
        if number in known and each.isalpha() and len(each) >= SHORTEST
    ]
    rows_SD = encoder.rows_of([encoder.vocabulary.words[each] for each in words])
    row_D = text.anchor_rows([word])[0, text.slices[name]]
    nearest_S = F.cosine_similarity(rows_SD, row_D[None], dim=1).argsort(descending=True)
    spelt = difflib.get_close_matches(word, words, SUGGESTED)
    single = (words[i] for i in nearest_S.tolist() if text.is_single_token(words[i]))
    return list(dict.fromkeys([*filter(text.is_single_token, spelt), *islice(single, SUGGESTED)]))
