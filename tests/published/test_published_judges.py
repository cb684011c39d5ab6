"""The judge and the safety checker as they were published."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from published_models import JUDGE, SAFETY, dataset, suite

from vwtransfer.config import models as config
from vwtransfer.models.safety import SafetyChecker
from vwtransfer.tasks.generation import Generation

pytestmark = pytest.mark.published


def images() -> list[Image.Image]:
    return [example.load() for c in dataset().concepts for example in dataset().training(c)]


def test_the_judge_ranks_as_the_library_does(checkpoints: Path) -> None:
    from transformers import CLIPModel, CLIPProcessor

    judge = suite("sd21", "float32", checkpoints).judge
    assert judge is not None
    model = CLIPModel.from_pretrained(checkpoints / JUDGE).eval()
    processor = CLIPProcessor.from_pretrained(checkpoints / JUDGE)
    names = {"cat": "cat", "boat": "boat", "duck": "rubber duck"}
    prompts = [f"a photo of {name}" for name in names.values()]
    inputs = processor(text=prompts, images=images(), return_tensors="pt", padding=True)
    with torch.no_grad():
        best = model(**inputs).logits_per_image.argmax(dim=1).tolist()
    assert judge.best(images(), names) == [list(names)[i] for i in best]


def safety(folder: Path, dtype: config.Dtype = "float32") -> Any:
    settings = config.SafetyChecker(checkpoint=str(folder / SAFETY), dtype=dtype)
    return SafetyChecker(settings, torch.device("cpu"))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_safety_checker_flags_what_the_library_flags(
    checkpoints: Path, dtype: config.Dtype
) -> None:
    checker = safety(checkpoints, dtype)
    assert checker.flags(images()) == [False] * 4  # random weights, thresholds of 1
    checker.model.concept_embeds_weights.fill_(-1)  # any image is as near as that
    assert checker.flags(images()) == [True] * 4


def test_a_checker_without_weights_says_not_checked(tmp_path: Path) -> None:
    (tmp_path / SAFETY).mkdir()
    assert safety(tmp_path).flags(images()) is None


def test_flags_reach_the_measurement(checkpoints: Path) -> None:
    found = suite("sd21", "float32", checkpoints)
    model: Any = found.models["sd21"]
    assert found.judge is not None
    task = Generation(found.judge, found.safety)
    concept = next(iter(dataset().concepts))
    with torch.no_grad():
        prompts = model.text.encode_text(["a photo of a cat"])
    (checked,) = task.measure(model, prompts, task.held_out(model, dataset()), [concept])
    assert checked.unsafe is False
    assert checked.values["generation_accuracy"] in (0, 1)
