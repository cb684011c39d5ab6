"""Text encoders out of files with a whole model, beside what their own libraries compute."""

from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from vwtransfer.config.composition import compose
from vwtransfer.errors import UserError
from vwtransfer.models import Model
from vwtransfer.models.suite import build

PROMPT = "a photo of a red star"


def clip(width: int = 64) -> CLIPTextModel:
    """A small text encoder of CLIP's kind over CLIP's whole vocabulary."""
    torch.manual_seed(0)
    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2}
    ids = {"bos_token_id": 49406, "eos_token_id": 49407}
    config = CLIPTextConfig(
        **sizes, num_attention_heads=width // 64, vocab_size=49408, hidden_act="quick_gelu", **ids
    )
    return CLIPTextModel(config).eval()


def open_clips(layers: int) -> open_clip.CLIP:
    torch.manual_seed(1)
    text = open_clip.model.CLIPTextCfg(width=128, heads=2, layers=layers)
    vision = open_clip.model.CLIPVisionCfg(layers=1, width=64, patch_size=16, image_size=32)
    return open_clip.CLIP(128, vision, text).eval()


def named(model: torch.nn.Module, start: str) -> dict[str, Tensor]:
    """The tensors of a text encoder, as a whole model's file calls them."""
    others = ("visual", "logit", "attn_mask")
    return {
        f"{start}{name}": tensor.clone()
        for name, tensor in model.state_dict().items()
        if not name.startswith(others)
    }


def model_of(path: Path) -> Model:
    config = compose(["action=convert", f"source={path}", "target=tiny_sd", "word=a.pt"])
    node = {"dtype": "float32"}
    name = config.source
    assert name is not None
    nodes = {name: {**config.model.models[name], **node}}
    own = replace(config, model=replace(config.model, models=nodes, judge=None, safety=None))
    return build(own, torch.device("cpu")).models[name]


def ids_of(model: Model) -> Tensor:
    (vocabulary, *_) = model.vocabularies.values()
    return torch.tensor([vocabulary.encode(PROMPT)])


@pytest.mark.parametrize("short", [False, True])
def test_stable_diffusion_1(tmp_path: Path, short: bool) -> None:
    library = clip()
    start = "cond_stage_model.transformer." + ("" if short else "text_model.")
    save_file(named(library, start), tmp_path / "merge.safetensors")
    found = model_of(tmp_path / "merge.safetensors")
    with torch.no_grad():
        theirs = library(ids_of(found)).last_hidden_state
        ours = found.text.encode_text([PROMPT]).states_NLD
    torch.testing.assert_close(ours, theirs)
    with pytest.raises(UserError, match=r"is one file, of which text encoders alone are read"):
        _ = found.pipeline  # type: ignore[attr-defined]


def test_stable_diffusion_2_goes_without_the_last_block(tmp_path: Path) -> None:
    library = open_clips(layers=3)
    save_file(named(library, "cond_stage_model.model."), tmp_path / "v2.safetensors")
    found = model_of(tmp_path / "v2.safetensors")
    with torch.no_grad():
        ids = ids_of(found)
        hidden = library.token_embedding(ids) + library.positional_embedding
        for block in library.transformer.resblocks[:-1]:
            hidden = block(hidden, attn_mask=library.attn_mask)
        theirs = library.ln_final(hidden)
        ours = found.text.encode_text([PROMPT]).states_NLD
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_sdxl_has_two(tmp_path: Path) -> None:
    first, second = clip(), open_clips(layers=2)
    tensors = named(first, "conditioner.embedders.0.transformer.text_model.")
    tensors |= named(second, "conditioner.embedders.1.model.")
    save_file(tensors, tmp_path / "xl.safetensors")
    found = model_of(tmp_path / "xl.safetensors")
    assert found.text.width == 64 + 128
    with torch.no_grad():
        ids = ids_of(found)
        prompts = found.text.encode_text([PROMPT])
        before = first(ids, output_hidden_states=True).hidden_states[-2]
        pooled = second.encode_text(torch.tensor([[*ids[0].tolist()[:8], *[0] * 69]]))
    torch.testing.assert_close(prompts.encoded["clip_l"].states_NLD, before)
    torch.testing.assert_close(prompts.encoded["clip_g"].pooled_NE, pooled, rtol=1e-4, atol=1e-5)


def test_a_file_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    tensors = named(clip(), "cond_stage_model.transformer.text_model.")
    del tensors["cond_stage_model.transformer.text_model.final_layer_norm.weight"]
    save_file(tensors, tmp_path / "cut.safetensors")
    with pytest.raises(UserError, match=r"cut.safetensors.*does not load"):
        _ = model_of(tmp_path / "cut.safetensors").text
