"""Each task's loss, on each architecture as it was published, against one written out."""

import math
from pathlib import Path

import pytest
import torch
from published_models import ONE_PRECISION, REPOSITORIES, dataset, loaded

import written_out
from vwtransfer.words.cells import Cell

PAPERS = ("sd21", "owlv2_base", "dfn_clip")

pytestmark = pytest.mark.published

# between losses that both run the frozen model in this precision, in batches of other sizes
BOUND = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}


# bfloat16 in the paper's own models: rounding is no matter of a model's depth or width; and in
# SDXL, whose UNet takes three times as long in float16 on a CPU
HALF = {name: ["float16"] for name in REPOSITORIES} | {
    name: ["float16", "bfloat16"] for name in PAPERS
}
HALF |= {"sdxl": ["bfloat16"], **{name: [] for name in ONE_PRECISION}}
CASES = [(name, dtype) for name in REPOSITORIES for dtype in ("float32", *HALF[name])]


@pytest.mark.parametrize(("model", "dtype"), CASES)
def test_the_loss_is_the_one_written_out_with_the_librarys_classes(
    checkpoints: Path, model: str, dtype: str
) -> None:
    found, images = loaded(model, dtype, checkpoints), dataset()
    cell = Cell(images.name, found.name, next(iter(images.concepts)), "cat", math.inf, 0)
    word = found.text.anchor_rows(["red", "cat", "star", "boat"])
    features = found.features(images)
    batch = found.batches(features, cell)
    vectors = word[None].requires_grad_()
    ours = found.loss(vectors, features, batch, [cell], 0)
    expected = written_out.loss(found, images, cell, batch[0].tolist(), word, 0)
    torch.testing.assert_close(ours[0], expected, atol=BOUND[dtype], rtol=BOUND[dtype])
    (gradient,) = torch.autograd.grad(ours.sum() * 1024, vectors)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


@pytest.mark.parametrize(
    ("model", "prediction"), [("sd21", "v_prediction"), ("sd15", "epsilon"), ("sdxl", "epsilon")]
)
def test_the_target_is_what_the_checkpoint_predicts(
    checkpoints: Path, model: str, prediction: str
) -> None:
    pipeline = loaded(model, "float32", checkpoints).pipeline
    assert pipeline.scheduler.config.prediction_type == prediction


def test_the_published_names_of_tensors_are_read(checkpoints: Path) -> None:
    from safetensors.torch import load_file

    vae = loaded("sd21", "float32", checkpoints).pipeline.vae
    folder = checkpoints / "stable-diffusion-2-1/vae"
    published = load_file(folder / "diffusion_pytorch_model.safetensors")
    torch.testing.assert_close(
        vae.decoder.mid_block.attentions[0].to_q.weight,
        published["decoder.mid_block.attentions.0.query.weight"],
    )
