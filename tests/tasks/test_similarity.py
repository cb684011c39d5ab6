"""CLIP-I, CLIP-T and DINO are what the libraries' own classes give, computed image by image."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    BitImageProcessor,
    CLIPModel,
    CLIPProcessor,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from drawn import Drawn, rectangle
from one_gradient import WEIGHTS
from vwtransfer.config import Config
from vwtransfer.config import models as config
from vwtransfer.config.composition import compose
from vwtransfer.config.identity import identity
from vwtransfer.config.validation import checked
from vwtransfer.datasets import NAMES, NEGATIVES, DatasetNotes
from vwtransfer.errors import UserError
from vwtransfer.models.dino import Dino
from vwtransfer.models.suite import Suite, build
from vwtransfer.study.early_checks import check_fidelity_prompts
from vwtransfer.tasks import Measurement, measurable
from vwtransfer.tasks.classification import Classification
from vwtransfer.tasks.generation import Generation
from vwtransfer.tasks.registry import tasks_of

TEMPLATES = ["a photo of {} on snow", "the {} on sand"]
CONCEPTS = ["red", "blue"]
SIZES = {"image_size": 16, "patch_size": 8, "hidden_size": 12, "intermediate_size": 16}
LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 2}


def dino_folder(kind: str, folder: Path) -> Path:
    """A DINO or DINOv2 of random weights, as its library saves it."""
    torch.manual_seed(0)
    size = {"height": 16, "width": 16}
    if kind == "vit":
        ViTModel(ViTConfig(**SIZES, **LAYERS), add_pooling_layer=False).save_pretrained(folder)
        ViTImageProcessor(size=size).save_pretrained(folder)
    else:
        Dinov2Model(Dinov2Config(**SIZES, **LAYERS)).save_pretrained(folder)
        BitImageProcessor(size={"shortest_edge": 20}, crop_size=size).save_pretrained(folder)
    return folder


def dino(folder: Path) -> Dino:
    settings = config.Dino(checkpoint=str(folder), dtype="float32")
    return Dino(settings, torch.device("cpu"))


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a * b).sum() / (a.norm() * b.norm()))


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dino_folder("vit", tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="module")
def composed(vit: Path) -> Config:
    keys = ["model.generation.denoising_steps=2", "model.generation.images_per_word=2"]
    keys += ["model/dino=dino_vits16", f"model.dino.checkpoint={vit}", "model.dino.dtype=float32"]
    return compose([*keys, "evaluation.metrics=[clip_i,clip_t,dino]"])


@pytest.fixture(scope="module")
def suite(composed: Config) -> Suite:
    return build(composed, torch.device("cpu"))


@pytest.fixture(scope="module")
def measured(composed: Config, suite: Suite) -> list[Measurement]:
    """Two words, two images each, and one in each of the templates."""
    model: Any = suite.models["tiny_sd"]
    task: Any = tasks_of(composed, suite)["generation"]
    task.templates = tuple(TEMPLATES)
    held_out, text = task.held_out(model, Drawn()), model.text
    with torch.no_grad():
        words_NKD = text.anchor_rows(["red", "blue"])[:, None]
        prompts = {each: text.encode_words(each, words_NKD) for each in TEMPLATES}
        first = task.measure(
            model, text.encode_words("a photo of {}", words_NKD), held_out, CONCEPTS
        )
        found: list[Measurement] = task.measure_prompted(model, prompts, held_out, CONCEPTS, first)
    return found


def test_clip_i_is_the_mean_cosine_of_each_generation_with_each_photo(
    measured: list[Measurement],
) -> None:
    model = CLIPModel.from_pretrained(WEIGHTS / "judge", dtype=torch.float32)
    processor = CLIPProcessor.from_pretrained(WEIGHTS / "judge")

    def seen(image: Image.Image) -> torch.Tensor:
        pixels = processor.image_processor(image, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            return model.visual_projection(model.vision_model(pixels).pooler_output)[0]

    for concept, found in zip(CONCEPTS, measured, strict=True):
        photos = [seen(example.load()) for example in Drawn().training(concept)]
        each = [cosine(seen(image), photo) for image in found.images for photo in photos]
        assert len(each) == 2 * 4
        assert found.values["clip_i"] == pytest.approx(sum(each) / len(each), abs=1e-5)
        assert found.num_images == 2


def test_clip_t_is_the_mean_cosine_of_each_prompted_image_with_the_prompt_by_name(
    measured: list[Measurement],
) -> None:
    model = CLIPModel.from_pretrained(WEIGHTS / "judge", dtype=torch.float32)
    processor = CLIPProcessor.from_pretrained(WEIGHTS / "judge")
    for concept, found in zip(CONCEPTS, measured, strict=True):
        each = []
        for template, image in zip(TEMPLATES, found.prompted, strict=True):
            inputs = processor(
                text=[template.format(f"{concept} thing")], images=image, return_tensors="pt"
            )
            with torch.no_grad():
                out = model(**inputs)
            each.append(cosine(out.text_embeds[0], out.image_embeds[0]))
        assert found.values["clip_t"] == pytest.approx(sum(each) / len(each), abs=1e-5)
        assert found.num_images_of == {"clip_t": 2}
    assert measured[0].values["clip_t"] != measured[1].values["clip_t"]


def test_dino_is_the_mean_cosine_of_the_class_tokens(
    measured: list[Measurement], vit: Path
) -> None:
    model, processor = ViTModel.from_pretrained(vit), ViTImageProcessor.from_pretrained(vit)

    def seen(image: Image.Image) -> torch.Tensor:
        with torch.no_grad():
            return model(**processor(image, return_tensors="pt")).last_hidden_state[0, 0]

    for concept, found in zip(CONCEPTS, measured, strict=True):
        photos = [seen(example.load()) for example in Drawn().training(concept)]
        each = [cosine(seen(image), photo) for image in found.images for photo in photos]
        assert found.values["dino"] == pytest.approx(sum(each) / len(each), abs=1e-5)


def test_dinov2_gives_the_class_token_that_its_library_pools(tmp_path: Path) -> None:
    folder = dino_folder("dinov2", tmp_path)
    images = [rectangle(colour, (10, 10, 40, 30)) for colour in ("red", "blue")]
    processor = BitImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        pooled_ME = Dinov2Model.from_pretrained(folder)(
            **processor(images, return_tensors="pt")
        ).pooler_output
    found_ME = dino(folder).embed_images(images)
    assert torch.allclose(found_ME, torch.nn.functional.normalize(pooled_ME, dim=-1), atol=1e-6)
    assert torch.allclose(found_ME.norm(dim=-1), torch.ones(2))


def test_what_is_no_dino_or_is_cut_off_is_refused(vit: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        dino(tmp_path / "none").embed_images([rectangle("red", (1, 1, 9, 9))])
    for path in vit.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights, about = tmp_path / "model.safetensors", tmp_path / "config.json"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model.dino.checkpoint=.* does not load"):
        _ = dino(tmp_path).model
    about.write_text(about.read_text().replace('"vit"', '"swin"'))
    with pytest.raises(UserError, match=r"model.dino.checkpoint=.*: is a swin; a DINO is one of"):
        _ = dino(tmp_path).model


@pytest.mark.parametrize(
    ("lacking", "drawn", "found"),
    [
        (NEGATIVES, (), ()),
        (NAMES, ("photo_accuracy",), ("classifier_average_precision",)),
    ],
)
def test_without_images_or_names_of_anything_else_nothing_is_ranked_by_name(
    lacking: str, drawn: tuple[str, ...], found: tuple[str, ...]
) -> None:
    judge: Any = None  # is asked for nothing
    lone: Any = (
        Drawn()
    )  # ranking first among one concept, or among concepts of one name, means nothing
    lone.remarks = DatasetNotes(lacks={lacking: "it has none"})
    assert measurable(Generation(judge), lone) == drawn
    assert measurable(Classification(), lone) == found
    task = Generation(judge, None, ["clip_i", "clip_t"], None, TEMPLATES)
    assert measurable(task, lone) == ("clip_i", "clip_t", *drawn)
    assert measurable(task, Drawn()) == ("generation_accuracy", "clip_i", "clip_t")


def test_a_metric_needs_something_to_measure_with(composed: Config) -> None:
    def refused(**model: Any) -> str:
        with pytest.raises(UserError) as error:
            checked({**composed.composed, "model": {**composed.composed["model"], **model}})
        return str(error.value)

    assert "dino needs a model, and this suite has none. Choose one with model/" in refused(
        dino=None
    )
    assert "clip_t needs prompts to draw" in refused(fidelity_prompts=[])
    assert "model.fidelity_prompts[0]=on snow: must have {} once" in refused(
        fidelity_prompts=["on snow"]
    )


def test_a_prompt_that_is_too_long_is_refused_before_anything_is_trained(
    composed: Config, suite: Suite
) -> None:
    check_fidelity_prompts(composed, suite.models)
    longest = f"a photo of {{}} on {' '.join(['snow'] * 12)}"
    with pytest.raises(UserError, match="this text encoder reads at most 16"):
        check_fidelity_prompts(
            replace(composed, model=replace(composed.model, fidelity_prompts=(longest,))),
            suite.models,
        )


def test_what_a_study_measures_is_part_of_its_name(composed: Config) -> None:
    def measures(*metrics: Any) -> Any:
        chosen = replace(composed.evaluation, metrics=metrics)
        return identity(replace(composed, evaluation=chosen))["evaluation"]

    assert measures() == {}  # as before there were such metrics
    assert measures("clip_i") == {"metrics": ["clip_i"]}
    prompts = list(composed.model.fidelity_prompts)
    assert measures("clip_t") == {"metrics": ["clip_t"], "fidelity_prompts": prompts}
