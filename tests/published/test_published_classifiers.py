"""SigLIP 2 at its widths and 256,000 tokens, and open_clip's classifiers of newer kinds."""

import math
from pathlib import Path
from typing import Any

import layouts
import pytest
import torch
from published_models import CLASSIFIERS, TOLERANCE, dataset, loaded

import written_out
from vwtransfer.words.cells import Cell
from vwtransfer.words.formats import read, write

pytestmark = pytest.mark.published

CONTEXT = {"pe_core_l14": 32, "siglip2_base": 64, "siglip2_so400m": 64}  # 77 elsewhere
LOSS = {"float32": 1e-4, "float16": 1e-2}  # of cosines; a logit is some hundred times that
# other files have CLIPs in half precision, which a CPU computes slowly
CASES = [(m, d) for m in CLASSIFIERS for d in LOSS if d == "float32" or m.startswith("siglip")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    written: Path = tmp_path_factory.mktemp("classifiers")
    for _, repository in CLASSIFIERS.values():
        layouts.write(repository, written, shallow=True)
    return written


def word_of(found: Any, *words: str) -> torch.Tensor:
    rows: torch.Tensor = found.text.anchor_rows(words)
    return rows


@pytest.mark.parametrize(("model", "dtype"), CASES)
def test_a_word_of_existing_embeddings_is_the_plain_text_and_its_loss_the_written_out_one(
    folder: Path, model: str, dtype: str
) -> None:
    """One test, so that each checkpoint is loaded once."""
    found, images = loaded(model, dtype, folder), dataset()
    words, bound = ("red", "striped", "rubber", "duck"), TOLERANCE[dtype]
    with torch.no_grad():
        prompts = found.text.encode_words("a photo of {}", word_of(found, *words)[None])
        theirs = written_out.library_text(found)("a photo of " + " ".join(words))
    assert prompts.pooled_NE.dtype == getattr(torch, dtype)
    torch.testing.assert_close(prompts.pooled_NE, theirs, rtol=bound, atol=bound)

    cell = Cell(images.name, found.name, next(iter(images.concepts)), "cat", math.inf, 0)
    word = word_of(found, "red", "cat", "star", "boat")
    features = found.features(images)
    batch = found.batches(features, cell)
    vectors = word[None].requires_grad_()
    ours = found.loss(vectors, features, batch, [cell], 0)
    expected = written_out.loss(found, images, cell, batch[0].tolist(), word, 0)
    scale = 1.0 if found.sigmoid is None else float(found.sigmoid.scale)
    torch.testing.assert_close(ours[0] / scale, expected / scale, atol=LOSS[dtype], rtol=0)
    (gradient,) = torch.autograd.grad(ours.sum() * 1024, vectors)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("model", CLASSIFIERS)
def test_the_text_tower_is_read_as_the_checkpoint_states(folder: Path, model: str) -> None:
    vocabulary = loaded(model, "float32", folder).vocabularies["text"]
    siglip = model.startswith("siglip")
    assert len(vocabulary.ids) == (256_000 if siglip else 49_408)
    assert vocabulary.kind == ("sentencepiece_bpe" if siglip else "clip_bpe")
    assert vocabulary.context_length == CONTEXT.get(model, 77)
    assert vocabulary.read_position == ("last" if siglip else "end")
    assert vocabulary.causal == (model in ("pe_core_l14", "metaclip_h14"))
    assert not vocabulary.masked


@torch.no_grad()
def test_a_word_from_a_file_is_read_alike_by_the_library(folder: Path, tmp_path: Path) -> None:
    """SigLIP has no loader of words: its vectors are put into rows of tokens without a use."""
    found = loaded("siglip2_base", "float32", folder)
    word = word_of(found, "red", "cat", "star", "boat")
    word = word + 0.01 * torch.randn(word.shape, generator=torch.Generator().manual_seed(0))
    kept = read(write("diffusers", word, "red_star", tmp_path)).vectors_KD
    ours = found.text.encode_words("a photo of {}", word[None]).pooled_NE
    unused = [f"▁unused{number}" for number in range(len(kept))]
    ids = found.vocabularies["text"].encode("a photo of " + " ".join(["cat"] * len(kept)))
    first = ids.index(found.vocabularies["text"].ids["▁cat"])
    for place, token in enumerate(unused):
        ids[first + place] = found.vocabularies["text"].ids[token]
        found.model.get_input_embeddings().weight[ids[first + place]] = kept[place]
    features = found.model.get_text_features(torch.tensor([ids])).pooler_output
    torch.testing.assert_close(ours, features / features.norm())
