"""Vectors put in at the lookup, in every text encoder as it was published."""

import json
import shutil
from pathlib import Path

import grounding_layouts
import open_clip
import pytest
import torch
from published_models import ONE_PRECISION, REPOSITORIES, TOLERANCE, loaded

from vwtransfer.models.open_clip_text import text_forward
from written_out import library_text, read

pytestmark = pytest.mark.published


@pytest.mark.parametrize(
    ("model", "dtype"),
    [(m, d) for m in REPOSITORIES for d in TOLERANCE if d == "float32" or m not in ONE_PRECISION],
)
def test_a_word_of_existing_embeddings_is_the_plain_text(
    checkpoints: Path, model: str, dtype: str
) -> None:
    found = loaded(model, dtype, checkpoints)
    words = ["red", "striped", "rubber", "duck"]
    with torch.no_grad():
        ours = read(found.text.encode_words("a photo of {}", found.text.anchor_rows(words)[None]))
        theirs = library_text(found)("a photo of " + " ".join(words))
    bound = TOLERANCE[dtype]
    assert ours.dtype == getattr(torch, dtype)
    torch.testing.assert_close(ours, theirs, rtol=bound, atol=bound)


@pytest.mark.parametrize(
    "model", [m for m in REPOSITORIES if m not in grounding_layouts.REPOSITORIES]
)
def test_the_vocabulary_is_clips(checkpoints: Path, model: str) -> None:
    for vocabulary in loaded(model, "float32", checkpoints).vocabularies.values():
        assert len(vocabulary.ids) == 49408
        assert vocabulary.ids["!"] == 0
        assert vocabulary.end_id == 49407
        assert vocabulary.kind == "clip_bpe"
        assert vocabulary.word_id("strawberry") == vocabulary.ids["strawberry</w>"]


@pytest.mark.parametrize(
    ("model", "length", "paddings"),
    [
        ("sd21", 77, (0,)),
        ("sd15", 77, (49407,)),
        ("sdxl", 77, (49407, 0)),
        ("owlv2_base", 16, (0,)),
        ("dfn_clip", 77, (0,)),
    ],
)
def test_prompts_are_as_long_and_padded_as_the_checkpoint_states(
    checkpoints: Path, model: str, length: int, paddings: tuple[int, ...]
) -> None:
    vocabularies = loaded(model, "float32", checkpoints).vocabularies.values()
    for vocabulary, padding in zip(vocabularies, paddings, strict=True):
        ids = vocabulary.encode("a photo of a cat")
        assert ids == [49406, 320, 1125, 539, 320, 2368, 49407, *[padding] * (length - 7)]


def test_another_kind_of_text_tower_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tower"
    shutil.copytree(checkpoints / "CLIP-ViT-B-32-laion2B-s34B-b79K", folder)
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"]["embed_cls"] = True
    config["model_cfg"]["custom_text"] = True
    path.write_text(json.dumps(config))
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    with pytest.raises(ValueError, match="none of CLIP's or SigLIP's kind"):
        text_forward(model, compiled=False)


def test_a_text_tower_of_its_own_class_is_read_alike(checkpoints: Path) -> None:
    folder = checkpoints / "CLIP-ViT-B-32-laion2B-s34B-b79K"
    source = f"local-dir:{folder}"
    model = open_clip.create_model(source, force_custom_text=True).eval()
    ids = open_clip.get_tokenizer(source)(["a photo of a cat"])
    with torch.no_grad():
        cut = text_forward(model, compiled=False)(ids[:, : ids.argmax() + 1], None)
        torch.testing.assert_close(cut.pooled_NE, model.encode_text(ids, normalize=True))
