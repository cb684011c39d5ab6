"""SigLIPs in transformers' and in open_clip's layout, beside the libraries' own computation."""

import json
import math
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from transformers import AutoModel, AutoProcessor

import small_siglips
import written_out
from composing import compose
from drawn import Drawn
from vwtransfer.datasets import held_out_examples
from vwtransfer.errors import UserError
from vwtransfer.models.image_text import Sigmoid
from vwtransfer.models.suite import build
from vwtransfer.models.support import support_of
from vwtransfer.tasks.classification import Classification
from vwtransfer.tinyworld.lexicon import split_words, words
from vwtransfer.words.cells import Cell

LAYOUTS = {  # the kind of tokenizer of each
    "siglip": "unigram",
    "siglip2": "sentencepiece_bpe",
    "masked": "sentencepiece_bpe",
    "open_clip": "unigram",
    "open_clip 2": "sentencepiece_bpe",
}
BOUND = {"float32": 1e-5, "float16": 5e-3}
TEXT = "red ring asterisk"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root: Path = tmp_path_factory.mktemp("siglips")
    saved = {kind: small_siglips.save_siglip(kind, root / kind) for kind in small_siglips.LAYOUTS}
    for name, kind in (("open_clip", "siglip"), ("open_clip 2", "siglip2")):
        saved[name] = small_siglips.save_open_clip(kind, root / name.replace(" ", "_"))
    return saved


def vectors_of(model: Any, text: str) -> torch.Tensor:
    """Embeddings [K, D] of the tokens that a text is read as in a prompt."""
    encoder = model.text.encoders["text"]
    rows: torch.Tensor = encoder.rows_of(encoder.vocabulary.token_ids(text))
    return rows


def changed(source: Path, folder: Path, name: str, **values: Any) -> Path:
    """A copy of a checkpoint with other values in one of its files."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    stated = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(stated | values))
    return folder


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("layout", LAYOUTS)
@torch.no_grad()
def test_a_word_of_existing_embeddings_is_the_plain_text(
    folders: dict[str, Path], layout: str, dtype: str
) -> None:
    model = small_siglips.classifier(folders[layout], dtype)
    ours = model.text.encode_words("a photo of {}", vectors_of(model, TEXT)[None]).pooled_NE
    theirs = written_out.library_text(model)("a photo of " + TEXT)
    assert ours.dtype == getattr(torch, dtype)
    torch.testing.assert_close(ours, theirs, rtol=BOUND[dtype], atol=BOUND[dtype])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_padding_is_read_and_masked_as_the_checkpoint_does(
    folders: dict[str, Path], layout: str
) -> None:
    vocabulary = small_siglips.classifier(folders[layout]).vocabularies["text"]
    ids = vocabulary.encode("a photo of star")
    assert not vocabulary.causal
    assert vocabulary.masked == (layout == "masked")
    assert len(ids) == vocabulary.context_length == 24
    assert vocabulary.read_index(ids) == 23
    assert vocabulary.kind == LAYOUTS[layout]


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.no_grad()
def test_scores_are_the_librarys_logits(folders: dict[str, Path], layout: str) -> None:
    model, folder = small_siglips.classifier(folders[layout]), folders[layout]
    examples = held_out_examples(Drawn())
    texts = ["a photo of red ring", "a photo of moon"]
    ours = model.score(model.text.encode_text(texts), model.encode_images(examples))
    images = [example.load() for example in examples]
    if layout.startswith("open_clip"):
        library, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
        pixels = torch.stack([transform(image) for image in images])
        tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
        theirs, _ = library.get_logits(pixels, tokenizer(texts))
    else:
        padded = {"padding": "max_length", "max_length": 24, "return_tensors": "pt"}
        inputs = AutoProcessor.from_pretrained(folder)(text=texts, images=images, **padded)
        theirs = AutoModel.from_pretrained(folder).eval()(**inputs).logits_per_image
    torch.testing.assert_close(ours, theirs.T)
    assert model.similarity_name == "logit"


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_loss_is_the_log_likelihood_of_the_models_probabilities(
    folders: dict[str, Path], layout: str, dtype: str
) -> None:
    model, dataset = small_siglips.classifier(folders[layout], dtype), Drawn()
    cell = Cell(dataset.name, model.name, next(iter(dataset.concepts)), "star", math.inf, 0)
    features = model.features(dataset)
    batch = model.batches(features, cell)[:1]
    word = vectors_of(model, TEXT).requires_grad_()
    ours = model.loss(word[None], features, batch, [cell], 0)
    theirs = written_out.loss(model, dataset, cell, batch[0].tolist(), word, 0)
    torch.testing.assert_close(ours[0], theirs, rtol=BOUND[dtype], atol=4 * BOUND[dtype])
    (gradient,) = torch.autograd.grad(ours.sum(), word)
    assert gradient.isfinite().all() and (gradient.abs().sum(dim=1) > 0).all()


def test_a_bias_moves_no_image_from_one_concept_to_another(folders: dict[str, Path]) -> None:
    """Recall and balanced accuracy go by the best of all concepts, not by a threshold."""
    model, dataset, task = small_siglips.classifier(folders["siglip2"]), Drawn(), Classification()
    prompts = model.text.encode_text([f"a photo of {name}" for name in ("moon", "ring", "star")])
    measured = []
    for bias in (-16.0, 3.0):
        model.sigmoid = Sigmoid(model.sigmoid.scale, torch.tensor([bias]))
        held_out = task.held_out(model, dataset)
        measured.append(task.measure(model, prompts, held_out, list(dataset.concepts)))
    assert measured[0] == measured[1]


@pytest.mark.parametrize(
    ("model_type", "message"),
    [
        ("siglip2", "NaFlex checkpoint .* Take one of fixed resolution: google/siglip2"),
        ("clip", "of type 'clip', not 'siglip'"),
    ],
)
def test_other_classes_are_refused(
    folders: dict[str, Path], tmp_path: Path, model_type: str, message: str
) -> None:
    folder = changed(folders["siglip2"], tmp_path, "config.json", model_type=model_type)
    model = small_siglips.classifier(folder)
    for part in ("vocabularies", "text"):
        with pytest.raises(UserError, match=message) as refusal:
            getattr(model, part)
        assert "\n" not in str(refusal.value)


@pytest.mark.skipif(find_spec("sentencepiece") is not None, reason="sentencepiece is installed")
def test_a_tokenizer_that_needs_another_library_says_which(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    other = {"tokenizer_class": "SiglipTokenizer"}
    folder = changed(folders["siglip"], tmp_path, "tokenizer_config.json", **other)
    with pytest.raises(UserError, match=r"pip install sentencepiece"):
        _ = small_siglips.classifier(folder).vocabularies


def test_a_map_between_a_clip_and_a_siglip_goes_by_the_words_that_both_read_whole() -> None:
    models = build(compose(["model=tiny_families"]), torch.device("cpu")).models
    spaces = [models[name].text for name in ("tiny_clip", "tiny_siglip")]
    whole = [word for word in words() if word not in split_words()]
    for source, target in (spaces, spaces[::-1]):
        support = support_of(source, target)
        assert not support.of_tokens
        assert sorted(support.entries) == whole
        assert target.token_rows(support).shape == (len(whole), target.width)
