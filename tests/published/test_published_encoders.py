"""Vectors put in at the lookup, in every text encoder as it was published."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from published_models import REPOSITORIES, TOLERANCE, task

from written_out import library_text

pytestmark = pytest.mark.published


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Products of few rows are spread over threads (`models.few_rows`) where there are some."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("model", REPOSITORIES)
def test_a_word_of_existing_embeddings_is_the_plain_text(
    checkpoints: Path, model: str, dtype: str
) -> None:
    found = task(model, dtype, checkpoints)
    words = ["red", "striped", "rubber", "duck"]
    vectors = torch.stack([found.text.word_row(word) for word in words])[None]
    with torch.no_grad():
        ours = found.text.encode_words("a photo of {}", vectors)
        theirs = library_text(found)("a photo of " + " ".join(words))
    bound = TOLERANCE[dtype]
    assert ours.dtype == getattr(torch, dtype)
    torch.testing.assert_close(ours, theirs, rtol=bound, atol=bound)


@pytest.mark.parametrize("model", REPOSITORIES)
def test_the_vocabulary_is_clips(checkpoints: Path, model: str) -> None:
    vocabulary = task(model, "float32", checkpoints).vocabulary
    assert len(vocabulary.ids) == 49408
    assert vocabulary.ids["!"] == 0
    assert vocabulary.end_id == 49407
    assert vocabulary.is_single_token("strawberry")


@pytest.mark.parametrize(
    ("model", "length", "padding"),
    [("sd21", 77, 0), ("sd15", 77, 49407), ("owlv2_base", 16, 0), ("dfn_clip", 77, 0)],
)
def test_prompts_are_as_long_and_padded_as_the_checkpoint_states(
    checkpoints: Path, model: str, length: int, padding: int
) -> None:
    ids = task(model, "float32", checkpoints).vocabulary.encode("a photo of a cat")
    assert ids == [49406, 320, 1125, 539, 320, 2368, 49407, *[padding] * (length - 7)]


def test_another_kind_of_text_tower_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    import json
    import shutil

    from vwtransfer.errors import UserError
    from vwtransfer.models.open_clip_text import text_forward

    folder = tmp_path / "tower"
    shutil.copytree(checkpoints / "CLIP-ViT-B-32-laion2B-s34B-b79K", folder)
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"] |= {"no_causal_mask": True, "pool_type": "last"}
    config["model_cfg"]["custom_text"] = True
    path.write_text(json.dumps(config))
    import open_clip

    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    with pytest.raises((UserError, ValueError), match="none of CLIP's kind"):
        text_forward(model, compiled=False)


def test_a_text_tower_of_its_own_class_is_read_alike(checkpoints: Path) -> None:
    import open_clip

    from vwtransfer.models.open_clip_text import text_forward

    folder = checkpoints / "CLIP-ViT-B-32-laion2B-s34B-b79K"
    source = f"local-dir:{folder}"
    model = open_clip.create_model(source, force_custom_text=True).eval()
    ids = open_clip.get_tokenizer(source)(["a photo of a cat"])
    with torch.no_grad():
        cut = text_forward(model, compiled=False)(ids[:, : ids.argmax() + 1])
        torch.testing.assert_close(cut, model.encode_text(ids, normalize=True))
