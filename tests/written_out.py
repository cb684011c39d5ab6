"""What each task computes, written out with the libraries' own classes (table 1 of the paper)."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_convert, box_iou
from transformers import AutoImageProcessor, AutoTokenizer

from vwtransfer.datasets import Dataset, Example, training_examples
from vwtransfer.models.embedding_space import Prompts
from vwtransfer.models.siglip import Siglip
from vwtransfer.seeds import generator
from vwtransfer.words.cells import Cell


def library_text(task: Any) -> Callable[[str], Tensor]:
    """The features of a prompt as the model's own library computes them."""
    if task.task == "generation":
        pipeline = task.pipeline
        return lambda text: pipeline.encode_prompt(text, "cpu", 1, False)[0]
    if task.task == "detection":
        model, processor = task.model, task.processor

        def features(text: str) -> Tensor:
            inputs = processor.tokenizer([text], padding="max_length", return_tensors="pt")
            return F.normalize(model.owlv2.get_text_features(**inputs).pooler_output, dim=-1)

        return features
    model = task.model
    if isinstance(task, Siglip):
        source, length = task.checkpoint.source, model.config.text_config.max_position_embeddings
        padded = {"padding": "max_length", "max_length": length, "return_tensors": "pt"}
        tokenizer = _tokenizer(source)
        return lambda text: F.normalize(
            model.get_text_features(**tokenizer([text], **padded)).pooler_output, dim=-1
        )
    import open_clip

    tokenizer = open_clip.get_tokenizer(f"local-dir:{task.folder}")
    return lambda text: model.encode_text(tokenizer([text]), normalize=True)


@lru_cache(maxsize=1)  # one of 256,000 tokens takes a second
def _tokenizer(source: str) -> Any:
    return AutoTokenizer.from_pretrained(source)


def read(prompts: Prompts) -> Tensor:
    """What the only text encoder gives its model: the state of each token, or one feature."""
    encoded = prompts.only
    found = encoded.pooled_NE if encoded.states_NLD is None else encoded.states_NLD
    assert found is not None
    return found


def loss(
    task: Any, dataset: Dataset, cell: Cell, images_B: Sequence[int], word_KD: Tensor, step: int
) -> Tensor:
    """The loss of one word on the training images with these numbers."""
    examples = training_examples(dataset)
    chosen = [examples[i] for i in images_B]
    written = {
        "generation": _generation,
        "detection": _detection,
        "classification": _classification,
    }
    return written[task.task](task, chosen, cell, word_KD, step)


def _classification(
    task: Any, examples: Sequence[Example], cell: Cell, word_KD: Tensor, step: int
) -> Tensor:
    model, images = task.model, [example.load() for example in examples]
    if isinstance(task, Siglip):
        processor = AutoImageProcessor.from_pretrained(task.checkpoint.source)
        pixels = processor(images, return_tensors="pt")["pixel_values"].to(model.dtype)
        image = F.normalize(model.get_image_features(pixels).pooler_output, dim=-1)
    else:
        pixels = torch.stack([task.transform(each) for each in images]).to(task.dtype)
        image = F.normalize(model.encode_image(pixels), dim=-1)
    text = task.text.encode_words(task.prompt_template, word_KD[None]).pooled_NE[0]
    cosine = image.float() @ text.float()
    sign = torch.tensor([-1.0 if e.concept == cell.concept else 1.0 for e in examples])
    if getattr(model, "logit_bias", None) is None:
        return (sign * cosine).mean()
    probability = (cosine * model.logit_scale.float().exp() + model.logit_bias.float()).sigmoid()
    right = torch.where(sign < 0, probability, 1 - probability)
    return -right.log().mean()


def _detection(
    task: Any, examples: Sequence[Example], cell: Cell, word_KD: Tensor, step: int
) -> Tensor:
    positives, negatives = [], []
    for example in examples:
        cosine, positive = regions(task, example, cell.concept, word_KD)
        positives.append(cosine[positive])
        negatives.append(cosine[~positive])
    return torch.cat(negatives).mean() - torch.cat(positives).mean()


def regions(task: Any, example: Example, concept: str, word_KD: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine of a word with each region that OWL-v2 proposes, and which are the target's."""
    model, processor = task.model, task.processor
    pixels = processor.image_processor([example.load()], return_tensors="pt")["pixel_values"]
    feature_map = model.image_embedder(pixels.to(model.dtype))[0]
    states = feature_map.flatten(1, 2)
    query = torch.zeros(1, 1, model.config.text_config.hidden_size, dtype=model.dtype)
    _, embedding = model.class_predictor(states, query, None)
    text = task.text.encode_words(task.prompt_template, word_KD[None]).pooled_NE[0]
    boxes = box_convert(model.box_predictor(states, feature_map)[0].float(), "cxcywh", "xyxy")
    own = [b for b, c in zip(example.boxes, example.labels, strict=True) if c == concept]
    overlap = box_iou(boxes * max(example.load().size), torch.tensor(own))
    positive = (overlap >= 0.5).any(dim=1)
    positive[overlap.argmax(dim=0)] = True
    return F.cosine_similarity(embedding[0].float(), text[None].float(), dim=-1), positive


def _generation(
    task: Any, examples: Sequence[Example], cell: Cell, word_KD: Tensor, step: int
) -> Tensor:
    from diffusers import DDPMScheduler

    pipeline = task.pipeline
    vae, unet = pipeline.vae, pipeline.unet
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    stream = generator("denoising", cell.stream("generation"), step)
    size = unet.config.sample_size * pipeline.vae_scale_factor
    images = [example.load() for example in examples]
    pixels = pipeline.image_processor.preprocess(images, height=size, width=size)
    posterior = vae.encode(pixels.to(vae.dtype)).latent_dist
    mean, std = posterior.mean.float(), posterior.std.float()
    latent = (mean + std * torch.randn(mean.shape, generator=stream)) * vae.config.scaling_factor
    noise = torch.randn(mean.shape, generator=stream)
    t = torch.randint(scheduler.config.num_train_timesteps, (len(images),), generator=stream)
    alpha = scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * latent + (1 - alpha).sqrt() * noise
    states_1LD = task.text.encode_words(task.prompt_template, word_KD[None]).states_NLD
    text = states_1LD.expand(len(images), -1, -1)
    predicted = unet(noisy.to(unet.dtype), t, text).sample.float()
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latent
    target = {"epsilon": noise, "v_prediction": velocity}[scheduler.config.prediction_type]
    return F.mse_loss(predicted, target)
