"""The loop that everybody runs: whatever a step reads is computed in that step.

This is what the textual-inversion example of diffusers does, and its analogues for OWL-v2 and CLIP:
the image encoder runs on every batch, prompts have their full length, and each image comes with the
encoding of its own prompt (CLIP's images share one). It is no slower than it must be: images are
decoded and resized before the clock starts, nothing but the word is trained (the example carries
gradients and moments of the whole token table), no graph is built where nothing learns, and model,
precision and attention are the study's own.

Shapes: K vectors per word, D embedding width, B batch, S steps, R regions, E joint width.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from vwtransfer.datasets import Dataset, Example, training_examples
from vwtransfer.models.text_encoder import Encoded, TextEncoder
from vwtransfer.seeds import generator
from vwtransfer.words.cells import Cell


class NaiveWord:
    """One word in training, without a ball.

    Args:
        model: the frozen model, of one text encoder.
        dataset: whose training images it sees.
        cell: which word.
        images_SB: the images of each step.
        optimiser: Adam's settings.
    """

    def __init__(
        self, model: Any, dataset: Dataset, cell: Cell, images_SB: Tensor, optimiser: dict[str, Any]
    ) -> None:
        self._model, self._cell, self._images_SB = model, cell, images_SB
        self._examples = training_examples(dataset)
        self._pixels = _PIXELS[model.task](model, self._examples)
        (text,) = model.text.encoders.values()
        self._text = TextEncoder(
            text.vocabulary, text.embedding, text.forward, only_pooled=False
        )  # only_pooled=False: prompts keep their full length
        vectors = model.text.anchor_rows([cell.anchor]).repeat(4, 1).to(model.device)
        self.word_KD = vectors.requires_grad_()
        self._adam = torch.optim.Adam([self.word_KD], **optimiser)

    def step(self, number: int) -> None:
        """One step of gradient descent."""
        images_B = self._images_SB[number]
        loss = _LOSSES[self._model.task](
            self._model,
            self._pixels[images_B],
            [self._examples[i] for i in images_B.tolist()],
            self._prompts,
            self._cell,
            number,
        )
        self._adam.zero_grad()
        loss.backward()
        self._adam.step()

    def _prompts(self, count: int) -> Encoded:
        words = self.word_KD.expand(count, -1, -1)
        return self._text.encode_words(self._model.prompt_template, words)


Prompts = Callable[[int], Encoded]


def _classification(
    model: Any, pixels: Tensor, examples: Sequence[Example], prompts: Prompts, cell: Cell, step: int
) -> Tensor:
    with torch.no_grad():
        image_BE = model.model.encode_image(pixels, normalize=True).float()
    text_1E = _pooled(prompts(1))
    signs = [-1.0 if example.concept == cell.concept else 1.0 for example in examples]
    return (torch.tensor(signs, device=model.device) * (image_BE @ text_1E[0])).mean()


def _detection(
    model: Any, pixels: Tensor, examples: Sequence[Example], prompts: Prompts, cell: Cell, step: int
) -> Tensor:
    owlv2 = model.model
    with torch.no_grad():
        feature_map = owlv2.image_embedder(pixels)[0]
        region_BRD = feature_map.flatten(1, 2)
        class_BRE = owlv2.class_head.dense0(region_BRD).float()
        box_BR4 = box_convert(owlv2.box_predictor(region_BRD, feature_map), "cxcywh", "xyxy")
        positive_BR = torch.stack(
            [_positive(box, example) for box, example in zip(box_BR4, examples, strict=True)]
        )
    text_BE = _pooled(prompts(len(examples)))
    cosine_BR = F.cosine_similarity(class_BRE, text_BE[:, None], dim=-1)
    return cosine_BR[~positive_BR].mean() - cosine_BR[positive_BR].mean()


def _pooled(encoded: Encoded) -> Tensor:
    assert encoded.pooled_NE is not None
    return encoded.pooled_NE.float()


@cache
def _side(example: Example) -> int:
    """The longest side of an image, which is not decoded again at every step."""
    return max(example.load().size)


def _positive(box_R4: Tensor, example: Example) -> Tensor:
    """Which regions hold the target."""
    labelled = zip(example.boxes, example.labels, strict=True)
    own = torch.tensor([box for box, label in labelled if label == example.concept])
    overlap_RT = box_iou(box_R4.float() * _side(example), own.to(box_R4.device))
    positive_R = (overlap_RT >= 0.5).any(dim=1)
    positive_R[overlap_RT.argmax(dim=0)] = True
    return positive_R


def _generation(
    model: Any, pixels: Tensor, examples: Sequence[Example], prompts: Prompts, cell: Cell, step: int
) -> Tensor:
    vae, unet, noising = model.pipeline.vae, model.pipeline.unet, model._noising
    stream = generator("denoising", cell.stream(model.task), step)
    with torch.no_grad():
        posterior = vae.encode(pixels).latent_dist
    mean, std = posterior.mean.float(), posterior.std.float()
    sample = torch.randn(mean.shape, generator=stream).to(mean)
    latent = (mean + std * sample) * vae.config.scaling_factor
    noise = torch.randn(mean.shape, generator=stream).to(mean)
    steps = noising.config.num_train_timesteps
    t = torch.randint(steps, (len(examples),), generator=stream).to(model.device)
    noisy = noising.add_noise(latent, noise, t).to(unet.dtype)
    text_BLD = prompts(len(examples)).states_NLD
    predicted = unet(noisy, t, encoder_hidden_states=text_BLD).sample.float()
    if noising.config.prediction_type == "v_prediction":
        return F.mse_loss(predicted, noising.get_velocity(latent, noise, t))
    return F.mse_loss(predicted, noise)


def _clip_pixels(model: Any, examples: Sequence[Example]) -> Tensor:
    pixels = torch.stack([model.transform(example.load()) for example in examples])
    return pixels.to(model.device, model.dtype)


def _owlv2_pixels(model: Any, examples: Sequence[Example]) -> Tensor:
    images = [example.load() for example in examples]
    pixels = model.processor.image_processor(images, return_tensors="pt")["pixel_values"]
    return pixels.to(model.device, model.dtype)


def _diffusion_pixels(model: Any, examples: Sequence[Example]) -> Tensor:
    images = [example.load() for example in examples]
    prepare, size = model.pipeline.image_processor.preprocess, model.size
    return prepare(images, height=size, width=size).to(model.device, model.dtype)


_LOSSES = {
    "classification": _classification,
    "detection": _detection,
    "generation": _generation,
}
_PIXELS = {
    "classification": _clip_pixels,
    "detection": _owlv2_pixels,
    "generation": _diffusion_pixels,
}
