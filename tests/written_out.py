"""What each task computes, written out with the libraries' own classes (table 1 of the paper)."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.ops import box_convert, box_iou
from transformers import AutoImageProcessor, AutoTokenizer
from transformers.loss.loss_grounding_dino import (
    GroundingDinoHungarianMatcher,
    GroundingDinoImageLoss,
)
from transformers.models.grounding_dino.modeling_grounding_dino import (
    build_label_maps,
    build_text_mask,
)

from vwtransfer.datasets import Dataset, Example, training_examples
from vwtransfer.models.embedding_space import Prompts
from vwtransfer.models.grounding_dino import GroundingDino
from vwtransfer.models.siglip import Siglip
from vwtransfer.models.stable_diffusion_xl import read_off
from vwtransfer.seeds import generator
from vwtransfer.words.cells import Cell


def library_text(task: Any) -> Callable[[str], Tensor]:
    """The features of a prompt as the model's own library computes them."""
    if task.task == "generation":
        pipeline = task.pipeline
        if len(task.vocabularies) == 1:
            return lambda text: pipeline.encode_prompt(text, "cpu", 1, False)[0]

        def both(text: str) -> Tensor:
            read = pipeline.encode_prompt(text, device="cpu", do_classifier_free_guidance=False)
            return torch.cat([read[0].flatten(1), read[2]], dim=1)

        return both
    if isinstance(task, GroundingDino):
        return lambda text: _library_phrase(task, text)
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
    """What the text encoder gives its model: the state of each token, or one feature.

    Of SDXL's two the states side by side, [N, L D], and the pooled output of the second.
    """
    if len(prompts.encoded) == 2:
        states_NLD, pooled_NE = read_off(prompts)
        return torch.cat([states_NLD.flatten(1), pooled_NE], dim=1)
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
    if isinstance(task, GroundingDino):
        return _grounding(task, examples, cell, word_KD)
    positives, negatives = [], []
    for example in examples:
        cosine, positive = regions(task, example, cell.concept, word_KD)
        positives.append(cosine[positive])
        negatives.append(cosine[~positive])
    return torch.cat(negatives).mean() - torch.cat(positives).mean()


def _library_phrase(task: Any, text: str) -> Tensor:
    """What the library's own forward hands on from the text projection."""
    inner = task.model.model
    kept: list[Tensor] = []
    hook = inner.text_projection.register_forward_hook(lambda _m, _i, out: kept.append(out))
    inputs = task.processor(
        images=Image.new("RGB", (96, 96)), text=[[text]], return_tensors="pt"
    ).to(task.model.dtype)
    try:
        task.model(**inputs)
    finally:
        hook.remove()
    return kept[0]


def grounding(task: Any, image: Image.Image, word_KD: Tensor) -> tuple[Any, Tensor]:
    """The library's output for an image and a word alone in its prompt, and the prompt's tokens."""
    model = task.model
    inputs = task.processor(
        images=image, text=[[" ".join(["red"] * len(word_KD))]], return_tensors="pt"
    ).to(model.dtype)

    def put_in(_module: Any, _inputs: Any, embedded: Tensor) -> Tensor:
        word = word_KD[None].to(embedded.dtype)
        return torch.cat([embedded[:, :1], word, embedded[:, 1 + len(word_KD) :]], dim=1)

    table = model.model.text_backbone.embeddings.word_embeddings
    hook = table.register_forward_hook(put_in)
    try:
        return model(**inputs), inputs.input_ids
    finally:
        hook.remove()


def _grounding(task: Any, examples: Sequence[Example], cell: Cell, word_KD: Tensor) -> Tensor:
    """The library's classification loss of each image, by its own class."""
    stated = task.model.config
    matcher = GroundingDinoHungarianMatcher(
        class_cost=stated.class_cost, bbox_cost=stated.bbox_cost, giou_cost=stated.giou_cost
    )
    criterion = GroundingDinoImageLoss(matcher, stated.focal_alpha, ["labels"])
    total, count = torch.zeros(()), 0
    for example in examples:
        out, ids = grounding(task, example.load(), word_KD)
        width, height = example.load().size
        labels = zip(example.boxes, example.labels, strict=True)
        own = torch.tensor([box for box, concept in labels if concept == cell.concept])
        boxes = box_convert(own / torch.tensor([width, height] * 2), "xyxy", "cxcywh")
        logits = out.logits.float()
        outputs = {
            "logits": logits,
            "pred_boxes": out.pred_boxes.float(),
            "label_maps": build_label_maps(logits, ids),
            "text_mask": build_text_mask(logits, torch.ones_like(ids)),
        }
        target = {"class_labels": torch.zeros(len(own), dtype=torch.long), "boxes": boxes}
        total = total + criterion(outputs, [target])["loss_ce"] * len(own)
        count += len(own)
    return total / count


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
    prompts = task.text.encode_words(task.prompt_template, word_KD[None])
    more: dict[str, Any] = {}
    if len(prompts.encoded) == 1:
        states_1LD = prompts.states_NLD
    else:
        states_1LD, pooled_1E = read_off(prompts)
        seen = [(i.height, i.width, 0, 0, size, size) for i in images]
        conditions = {"text_embeds": pooled_1E.expand(len(images), -1)}
        more = {"added_cond_kwargs": {**conditions, "time_ids": torch.tensor(seen)}}
    text = states_1LD.expand(len(images), -1, -1)
    predicted = unet(noisy.to(unet.dtype), t, text, **more).sample.float()
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latent
    target = {"epsilon": noise, "v_prediction": velocity}[scheduler.config.prediction_type]
    return F.mse_loss(predicted, target)
