"""A word given to diffusers draws the image that it draws here."""

from pathlib import Path

import numpy as np
import pytest
import torch
from published_models import loaded
from safetensors.torch import load_file

from vwtransfer.words.formats import write

pytestmark = pytest.mark.published


@pytest.mark.parametrize("model", ["sd21", "sd15"])
@pytest.mark.parametrize("form", ["diffusers", "a1111"])
def test_an_exported_word_draws_the_same_image_from_the_same_seed(
    checkpoints: Path, tmp_path: Path, model: str, form: str
) -> None:
    from diffusers import StableDiffusionPipeline

    found = loaded(model, "float32", checkpoints)
    word = found.text.anchor_rows(["red", "cat", "star", "boat"])
    word = word + 0.01 * torch.randn(word.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        prompts = found.text.encode_words("a photo of {}", word[None])
        ours = found.draw(prompts, [torch.Generator().manual_seed(5)])
    path = write(form, word, "red_star", tmp_path)
    pipeline = StableDiffusionPipeline.from_pretrained(
        found.checkpoint.source, safety_checker=None, feature_extractor=None
    )
    pipeline.load_textual_inversion(path, token="<red_star>")
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    theirs = pipeline(
        "a photo of <red_star>",
        num_inference_steps=found.settings.denoising_steps,
        guidance_scale=found.settings.guidance_scale,
        generator=torch.Generator().manual_seed(5),
        height=side,
        width=side,
    ).images
    difference = np.abs(np.asarray(ours[0], dtype=int) - np.asarray(theirs[0], dtype=int))
    assert np.asarray(ours[0]).std() > 1
    assert difference.max() <= 1


def test_an_exported_word_of_sdxl_draws_the_same_image_by_two_calls_of_the_loader(
    checkpoints: Path, tmp_path: Path
) -> None:
    from diffusers import StableDiffusionXLPipeline

    found = loaded("sdxl", "float32", checkpoints)
    word = found.text.anchor_rows(["red", "cat", "star", "boat"])
    word = word + 0.01 * torch.randn(word.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        prompts = found.text.encode_words("a photo of {}", word[None])
        ours = found.draw(prompts, [torch.Generator().manual_seed(5)])
    widths = {name: encoder.width for name, encoder in found.text.encoders.items()}
    both = load_file(write("diffusers", word, "red_star", tmp_path, widths))
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        found.checkpoint.source, torch_dtype=torch.float32, add_watermarker=False
    )
    for name, encoder, tokenizer in (
        ("clip_l", pipeline.text_encoder, pipeline.tokenizer),
        ("clip_g", pipeline.text_encoder_2, pipeline.tokenizer_2),
    ):
        pipeline.load_textual_inversion(
            both[name], token="<red_star>", text_encoder=encoder, tokenizer=tokenizer
        )

    def theirs() -> np.ndarray:
        images = pipeline(
            "a photo of <red_star>",
            num_inference_steps=found.settings.denoising_steps,
            guidance_scale=found.settings.guidance_scale,
            generator=torch.Generator().manual_seed(5),
            height=found.size,
            width=found.size,
        ).images
        return np.asarray(images[0], dtype=int)

    def pooled() -> torch.Tensor:
        with torch.no_grad():
            read = pipeline.encode_prompt("a photo of <red_star>", device="cpu")
        return read[2]

    # the config's eos_token_id is 2, of which transformers pools at the largest id: the added token
    own = prompts.encoded["clip_g"].pooled_NE
    assert own is not None
    assert (pooled() - own).norm() > 0.1 * own.norm()
    pipeline.text_encoder_2.text_model.eos_token_id = pipeline.tokenizer_2.eos_token_id
    torch.testing.assert_close(pooled(), own, rtol=1e-5, atol=1e-5)
    assert np.asarray(ours[0]).std() > 1
    assert np.abs(np.asarray(ours[0], dtype=int) - theirs()).max() <= 1
