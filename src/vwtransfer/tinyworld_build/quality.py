"""How good the tiny world's models are, measured on images that no model was built with.

All models are loaded from their folders by the libraries' own loaders. Prompts are "a photo of {}"
with the noun of a combination, or its description where it has none.

Letters of shapes: M images, B batch.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import DiffusionPipeline, FluxPipeline
from PIL import Image
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision
from torchvision.ops import box_convert
from transformers import Owlv2ForObjectDetection, Owlv2Processor

from vwtransfer.config.composition import config_folder
from vwtransfer.datasets.rendered import Rendered
from vwtransfer.tinyworld.lexicon import nouns
from vwtransfer.tinyworld.world import COMBINATIONS, FRAME, INDEX, TINY, World
from vwtransfer.tinyworld_build.autoencoder import LATENT_CHANNELS, noise_ratio, signed
from vwtransfer.tinyworld_build.autoencoder import PIXELS as GENERATED
from vwtransfer.tinyworld_build.flow import packed
from vwtransfer.tinyworld_build.generator import LATENT_SIDE
from vwtransfer.tinyworld_build.image_readers import ImageReader
from vwtransfer.tinyworld_build.pool import Pool
from vwtransfer.tinyworld_build.unigram import CONTEXT

TEMPLATE = "a photo of {}"
DATASETS = ("tiny_shapes", "tiny_textures", "tiny_small", "tiny_scenes")
DENOISING_STEPS = 50
EACH = 5  # generations of a name
GUIDANCE = {"StableDiffusionPipeline": 4.5, "StableDiffusionXLPipeline": 3.0, "FluxPipeline": 4.0}
GROUPS = 8  # of images, left out one at a time for the intervals of average precision

Measure = dict[str, float]


def world_names(world: World = TINY) -> list[str]:
    """A prompt for each combination of a world."""
    return [TEMPLATE.format(nouns(world).get(c, c.description)) for c in world.combinations]


def datasets_of(names: Iterable[str]) -> list[Rendered]:
    """Datasets as their configs describe them."""
    datasets = []
    for name in names:
        text = (config_folder() / "dataset" / f"{name}.yaml").read_text(encoding="utf-8")
        settings = yaml.safe_load(text)
        del settings["_target_"]
        datasets.append(Rendered(**settings))
    return datasets


def share(correct: Tensor) -> Measure:
    """A share of successes with its 95 % interval (Wilson's)."""
    n, z = len(correct), 1.96
    p = float(correct.float().mean())
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return {"value": p, "low": centre - half, "high": centre + half, "n": n}


def eye_quality(eye: ImageReader, pool: Pool, datasets: Sequence[Rendered]) -> dict[str, Measure]:
    """Accuracy among all combinations on a pool of scenes, among ten on the held-out images."""
    names = world_names(pool.world)
    found_M = eye.best(pictures(pool.images_BCHW), names)
    quality = {f"{len(names)}-way": share(found_M == main_things(pool))}
    for dataset in datasets:
        quality[f"ten-way {dataset.name}"] = ten_way(eye, dataset)
    return quality


def ten_way(eye: ImageReader, dataset: Rendered, images: int | None = None) -> Measure:
    """Accuracy among a dataset's ten names, on so many held-out images of each concept."""
    examples = [e for c in dataset.concepts for e in dataset.held_out(c)[:images]]
    prompts = [TEMPLATE.format(name) for name in dataset.concepts.values()]
    found_M = eye.best([e.load() for e in examples], prompts)
    order = list(dataset.concepts)
    return share(found_M == torch.tensor([order.index(e.concept) for e in examples]))


def detector_quality(
    folder: Path, datasets: Sequence[Rendered], pool: Pool | None = None
) -> dict[str, Measure]:
    """Average precision, on a pool with 256 queries and on held-out images with ten.

    Args:
        folder: of the weights.
        datasets: whose held-out images are looked at.
        pool: of the tiny world; None: it is not measured on one.
    """
    model = Owlv2ForObjectDetection.from_pretrained(folder, dtype=torch.float32).eval()
    processor = Owlv2Processor.from_pretrained(folder)
    quality: dict[str, Measure] = {}
    if pool is not None:
        truths = [
            {
                "boxes": torch.tensor(boxes),
                "labels": torch.tensor([INDEX[thing.combination] for thing in scene.things]),
            }
            for boxes, scene in zip(pool.boxes, pool.scenes, strict=True)
        ]
        found = detections(model, processor, pictures(pool.images_BCHW), world_names())
        quality = precision("world", found, truths)
    for dataset in datasets:
        found, truths = dataset_detections(model, processor, dataset)
        quality |= precision(dataset.name, found, truths)
    return quality


def dataset_detections(
    model: Any, processor: Any, dataset: Rendered, images: int | None = None
) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """Detections of a dataset's ten names in held-out images, and the annotated truth."""
    pictures, truths = annotated(dataset, images)
    prompts = [TEMPLATE.format(name) for name in dataset.concepts.values()]
    return detections(model, processor, pictures, prompts), truths


def annotated(
    dataset: Rendered, images: int | None = None
) -> tuple[list[Image.Image], list[dict[str, Tensor]]]:
    """So many held-out images of each concept (None: all), and what is where in each."""
    examples = [e for c in dataset.concepts for e in dataset.held_out(c)[:images]]
    order = list(dataset.concepts)
    return [e.load() for e in examples], [
        {
            "boxes": torch.tensor(e.boxes),
            "labels": torch.tensor([order.index(label) for label in e.labels]),
        }
        for e in examples
    ]


@torch.no_grad()
def detections(
    model: Any, processor: Any, images: Sequence[Image.Image], prompts: Sequence[str]
) -> list[dict[str, Tensor]]:
    """The 100 best boxes of each image over all prompts."""
    ids = processor.tokenizer(
        list(prompts), padding="max_length", truncation=True, return_tensors="pt"
    )
    found = []
    for image in images:
        pixels = processor.image_processor(image, return_tensors="pt").pixel_values
        out = model(pixel_values=pixels, **ids)
        scores, order = out.logits[0].sigmoid().flatten().topk(100)
        centred = out.pred_boxes[0][order // len(prompts)]
        boxes = box_convert(centred, "cxcywh", "xyxy") * FRAME
        found.append({"boxes": boxes, "scores": scores, "labels": order % len(prompts)})
    return found


def average_precision(
    found: Sequence[dict[str, Tensor]], truths: Sequence[dict[str, Tensor]]
) -> tuple[float, float]:
    """Mean average precision at IoU 0.5 and over 0.5:0.95."""
    metric = MeanAveragePrecision(backend="faster_coco_eval")
    metric.update(list(found), list(truths))
    result = metric.compute()
    return float(result["map_50"]), float(result["map"])


def precision(
    name: str, found: Sequence[dict[str, Tensor]], truths: Sequence[dict[str, Tensor]]
) -> dict[str, Measure]:
    """Both precisions with 95 % intervals by leaving out one of eight groups of images."""
    whole = average_precision(found, truths)
    without = []
    for group in range(GROUPS):
        kept = [i for i in range(len(found)) if i % GROUPS != group]
        without.append(average_precision([found[i] for i in kept], [truths[i] for i in kept]))
    quality = {}
    for i, metric in enumerate(("AP50", "mAP")):
        parts = torch.tensor([w[i] for w in without], dtype=torch.float64)
        spread = float(((parts - parts.mean()).square().sum() * (GROUPS - 1) / GROUPS).sqrt())
        quality[f"{metric} {name}"] = {
            "value": whole[i],
            "low": max(0.0, whole[i] - 1.96 * spread),
            "high": min(1.0, whole[i] + 1.96 * spread),
            "n": len(found),
        }
    return quality


def generator_quality(
    folder: Path, eye: ImageReader, world: Pool, datasets: Sequence[Rendered]
) -> dict[str, Measure]:
    """What the judge sees in generations, and in renders that went through the autoencoder."""
    pipeline = load_generator(folder)
    kinds_M = torch.arange(len(COMBINATIONS))
    found_M = eye.best(generate(pipeline, world_names()), world_names())
    with torch.no_grad():
        latents = pipeline.vae.encode(signed(world.images_BCHW)).latent_dist.mean
        decoded_BCHW = ((pipeline.vae.decode(latents).sample.clamp(-1, 1) + 1) * 127.5).round()
    behind = pictures(decoded_BCHW.to(torch.uint8))
    named_M = torch.tensor([c in nouns() for c in COMBINATIONS])
    quality = {
        "256-way": share(found_M == kinds_M),
        "256-way, nouns": share((found_M == kinds_M)[named_M]),
        "256-way ceiling behind the autoencoder": share(
            eye.best(behind, world_names()) == main_things(world)
        ),
        "autoencoder dB": {
            "value": noise_ratio(pipeline.vae, world.images_BCHW),
            "n": len(world.scenes),
        },
    }
    for dataset in datasets:
        prompts = [TEMPLATE.format(name) for name in dataset.concepts.values()]
        images = generate(pipeline, [prompt for prompt in prompts for _ in range(EACH)])
        truth_M = torch.arange(len(prompts)).repeat_interleave(EACH)
        quality[f"ten-way {dataset.name}"] = share(eye.best(images, prompts) == truth_M)
    return quality


def load_generator(folder: Path) -> Any:
    """The pipeline of a weights folder, in float32."""
    pipeline = DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(
    pipeline: Any, prompts: Sequence[str], steps: int = DENOISING_STEPS
) -> list[Image.Image]:
    """One image for each prompt, its noise fixed by its position.

    Guidance is that at which a kind of generator draws known words best.
    """
    guidance = GUIDANCE[type(pipeline).__name__]
    images: list[Image.Image] = []
    for start in range(0, len(prompts), 32):
        chunk = list(prompts[start : start + 32])
        generators = [torch.Generator().manual_seed(start + i) for i in range(len(chunk))]
        shape = (1, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE)
        latents_BCHW = torch.cat([torch.randn(shape, generator=g) for g in generators])
        options: dict[str, Any] = {"latents": latents_BCHW, "guidance_scale": guidance}
        if isinstance(pipeline, FluxPipeline):  # its own scale is told to an embedding of guidance
            options = {
                "latents": packed(latents_BCHW),
                "true_cfg_scale": guidance,
                "negative_prompt": "",
                "max_sequence_length": CONTEXT,
                "height": GENERATED,
                "width": GENERATED,
            }
        images += pipeline(chunk, num_inference_steps=steps, **options).images
    return images


def pictures(images_BCHW: Tensor) -> list[Image.Image]:
    """uint8 images as the libraries take them."""
    return [
        Image.fromarray(image.numpy()) for image in images_BCHW.permute(0, 2, 3, 1).contiguous()
    ]


def main_things(pool: Pool) -> Tensor:
    """The position of each scene's main combination among all of its world."""
    return torch.tensor([pool.world.index[scene.things[0].combination] for scene in pool.scenes])
