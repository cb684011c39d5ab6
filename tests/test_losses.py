"""Each task's loss against one written out with the library's own classes (table 1)."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import box_convert, box_iou

from vwtransfer.composition import compose
from vwtransfer.datasets import Dataset, Example
from vwtransfer.grid import Cell
from vwtransfer.seeds import generator
from vwtransfer.suite import Suite, build, build_part
from vwtransfer.tasks import Task, training_examples


@pytest.fixture(scope="module")
def suite() -> Suite:
    return build(compose([]), torch.device("cpu"))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    part: Dataset = build_part(compose([]).dataset["tiny_shapes"].node, "dataset.tiny_shapes")
    return part


def cell(task: str, dataset: Dataset, number: int = 0) -> Cell:
    concept = list(dataset.concepts)[number]
    return Cell("tiny_shapes", task, concept, dataset.anchors[number], math.inf, 0)


def words(task: Task, count: int = 2) -> torch.Tensor:
    vectors = torch.randn(count, 4, task.text.width, generator=torch.Generator().manual_seed(0))
    return (vectors * 0.1).requires_grad_()


def batch(task: Task, features: object, cells: list[Cell], step: int = 0) -> torch.Tensor:
    return torch.stack([task.batches(features, one)[step] for one in cells])


def test_classification_raises_the_cosine_with_the_target_and_lowers_it_with_others(
    suite: Suite, dataset: Dataset
) -> None:
    task = suite.tasks["classification"]
    cells = [cell(task.name, dataset, n) for n in range(2)]
    features, vectors = task.features(dataset), words(task)
    images = batch(task, features, cells)
    ours = task.loss(vectors, features, images, cells, 0)
    model, transform = task._model_and_transform  # type: ignore[attr-defined]
    examples = training_examples(dataset)
    for n, one in enumerate(cells):
        chosen = [examples[i] for i in images[n].tolist()]
        assert sum(example.concept == one.concept for example in chosen) == 4
        pixels = torch.stack([transform(example.load()) for example in chosen])
        image = F.normalize(model.encode_image(pixels), dim=-1)
        text = task.text.encode_words(task.template, vectors[n : n + 1])[0]
        sign = torch.tensor([-1.0 if e.concept == one.concept else 1.0 for e in chosen])
        torch.testing.assert_close(ours[n], (sign * (image @ text)).mean(), atol=1e-5, rtol=1e-4)


def test_detection_tells_the_targets_regions_from_all_others(
    suite: Suite, dataset: Dataset
) -> None:
    task = suite.tasks["detection"]
    cells = [cell(task.name, dataset, n) for n in range(2)]
    features, vectors = task.features(dataset), words(task)
    images = batch(task, features, cells)
    ours = task.loss(vectors, features, images, cells, 0)
    examples = training_examples(dataset)
    for n, one in enumerate(cells):
        positives, negatives = [], []
        for i in images[n].tolist():
            cosine, positive = regions(task, examples[i], one.concept, vectors[n])
            positives.append(cosine[positive])
            negatives.append(cosine[~positive])
        expected = torch.cat(negatives).mean() - torch.cat(positives).mean()
        torch.testing.assert_close(ours[n], expected, atol=1e-5, rtol=1e-4)


def regions(
    task: Task, example: Example, concept: str, word: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine of a word with each region that OWL-v2 proposes, and which are the target's."""
    model, processor = task._model, task._processor  # type: ignore[attr-defined]
    pixels = processor.image_processor([example.load()], return_tensors="pt")["pixel_values"]
    feature_map = model.image_embedder(pixels)[0]
    states = feature_map.flatten(1, 2)
    _, embedding = model.class_predictor(states, torch.zeros(1, 1, 80), None)
    text = task.text.encode_words(task.template, word[None])[0]
    boxes = box_convert(model.box_predictor(states, feature_map)[0], "cxcywh", "xyxy")
    own = [b for b, c in zip(example.boxes, example.labels, strict=True) if c == concept]
    overlap = box_iou(boxes * max(example.load().size), torch.tensor(own))
    positive = (overlap >= 0.5).any(dim=1)
    positive[overlap.argmax(dim=0)] = True
    return F.cosine_similarity(embedding[0], text[None], dim=-1), positive


def test_generation_is_the_denoising_loss_of_the_checkpoints_own_prediction(
    suite: Suite, dataset: Dataset
) -> None:
    from diffusers import DDPMScheduler

    task = suite.tasks["generation"]
    cells = [cell(task.name, dataset, n) for n in range(2)]
    features, vectors = task.features(dataset), words(task)
    images = batch(task, features, cells)
    ours = task.loss(vectors, features, images, cells, 7)
    pipeline = task.pipeline  # type: ignore[attr-defined]
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    assert scheduler.config.prediction_type == "v_prediction"
    examples = training_examples(dataset)
    for n, one in enumerate(cells):
        stream = generator("denoising", one.key, 7)
        chosen = [examples[i].load() for i in images[n].tolist()]
        size = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
        pixels = pipeline.image_processor.preprocess(chosen, height=size, width=size)
        posterior = pipeline.vae.encode(pixels).latent_dist
        shape = posterior.mean.shape
        latent = posterior.mean + posterior.std * torch.randn(shape, generator=stream)
        latent = latent * pipeline.vae.config.scaling_factor
        noise = torch.randn(shape, generator=stream)
        t = torch.randint(1000, (8,), generator=stream)
        text = task.text.encode_words(task.template, vectors[n : n + 1]).expand(8, -1, -1)
        predicted = pipeline.unet(scheduler.add_noise(latent, noise, t), t, text).sample
        alpha = scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latent
        torch.testing.assert_close(ours[n], F.mse_loss(predicted, velocity), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["generation", "detection", "classification"])
def test_a_words_gradient_does_not_depend_on_its_neighbours(
    suite: Suite, dataset: Dataset, name: str
) -> None:
    task = suite.tasks[name]
    cells = [cell(name, dataset, n) for n in range(3)]
    features, vectors = task.features(dataset), words(task, 3)
    images = batch(task, features, cells)
    (together,) = torch.autograd.grad(task.loss(vectors, features, images, cells, 3).sum(), vectors)
    for n in range(3):
        alone = vectors[n : n + 1].detach().requires_grad_()
        loss = task.loss(alone, features, images[n : n + 1], cells[n : n + 1], 3)
        (gradient,) = torch.autograd.grad(loss.sum(), alone)
        torch.testing.assert_close(gradient[0], together[n], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", ["generation", "detection", "classification"])
def test_a_broken_word_leaves_its_neighbours_alone(
    suite: Suite, dataset: Dataset, name: str
) -> None:
    task = suite.tasks[name]
    cells = [cell(name, dataset, n) for n in range(2)]
    features, vectors = task.features(dataset), words(task).detach()
    images = batch(task, features, cells)
    healthy = task.loss(vectors, features, images, cells, 0)
    vectors[0] = math.nan
    vectors.requires_grad_()
    loss = task.loss(vectors, features, images, cells, 0)
    (gradient,) = torch.autograd.grad(loss.sum(), vectors)
    assert loss[0].isnan()
    torch.testing.assert_close(loss[1], healthy[1], rtol=1e-4, atol=1e-6)
    assert gradient[1].isfinite().all()


def test_missing_and_foreign_weights_are_refused_by_name(tmp_path: Path) -> None:
    from vwtransfer.errors import UserError

    for name in ("generation", "detection", "classification"):
        missing = build(compose([f"model.{name}.checkpoint={tmp_path}/none"]), torch.device("cpu"))
        with pytest.raises(UserError, match=rf"model\.{name}\.checkpoint=.*no such folder"):
            _ = missing.tasks[name].text
