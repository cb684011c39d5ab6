"""Small generators of SD 3.5's and FLUX.1's kind with random weights, saved as checkpoints are.

Their tokenizers are those of `small_encoders`; images have 16 pixels a side.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)

from composing import compose
from small_encoders import CONTEXT, TOKENIZERS
from vwtransfer.models.suite import build

PIXELS = 16
CLIP_WIDTHS, T5_WIDTH = (16, 24), 48
BASES = {"sd3": "sd35_medium", "flux_dev": "flux1_dev", "flux_schnell": "flux1_schnell"}


def write(kind: str, folder: Path) -> Path:
    """One of BASES; returns its folder."""
    torch.manual_seed(0)
    pipeline = _sd3() if kind == "sd3" else _flux(guided=kind == "flux_dev")
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            for parameter in part.parameters():  # the libraries' own are so small that words hardly
                parameter.data.mul_(1.5)  # matter, or zero
                if parameter.ndim > 1 and not parameter.any():
                    parameter.data.normal_(std=0.1)
    pipeline.save_pretrained(folder / kind)
    return folder / kind


def loaded(kind: str, folder: Path, *overrides: str) -> Any:
    """The model of a folder that `write` made, with the keys of the published one."""
    name = BASES[kind]
    keys = [f"checkpoint={folder}", "dtype=float32", f"prompt_tokens={CONTEXT}"]
    keys += [f"image_size={PIXELS}", "denoising_steps=3", *overrides]
    config = compose(
        ["model=tiny", f"model/generation={name}", *(f"model.{name}.{key}" for key in keys)]
    )
    return build(config, torch.device("cpu")).models[name]


def _clip(kind: Any, width: int, tokenizer: Any, **options: Any) -> Any:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        projection_dim=width,
        bos_token_id=len(tokenizer) - 2,
        eos_token_id=len(tokenizer) - 1,
        **options,
    )
    return kind(config)


def _t5(tokenizer: Any) -> T5EncoderModel:
    config = T5Config(
        vocab_size=len(tokenizer) + 5,  # the published one too has rows that no token has
        d_model=T5_WIDTH,
        d_kv=12,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.1,
    )
    return T5EncoderModel(config)


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=1.5,
        shift_factor=0.1,
        use_quant_conv=False,
        use_post_quant_conv=False,
        sample_size=PIXELS,
    )


def _sd3() -> StableDiffusion3Pipeline:
    clips, t5 = [TOKENIZERS["clip"](), TOKENIZERS["clip"]()], TOKENIZERS["t5"]()
    clips[1].pad_token = "!"  # as published: the first pads with the end of the text
    first, second = (
        _clip(CLIPTextModelWithProjection, width, tokenizer)
        for width, tokenizer in zip(CLIP_WIDTHS, clips, strict=True)
    )
    transformer = SD3Transformer2DModel(
        sample_size=PIXELS // 2,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=sum(CLIP_WIDTHS),
        pos_embed_max_size=8,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=scheduler,
        vae=_vae(),
        text_encoder=first,
        tokenizer=clips[0],
        text_encoder_2=second,
        tokenizer_2=clips[1],
        text_encoder_3=_t5(t5),
        tokenizer_3=t5,
    )


def _flux(*, guided: bool) -> FluxPipeline:
    clip, t5 = TOKENIZERS["clip"](), TOKENIZERS["t5"]()
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=CLIP_WIDTHS[0],
        guidance_embeds=guided,
        axes_dims_rope=(4, 6, 6),
    )
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=guided)
    return FluxPipeline(
        scheduler=scheduler,
        vae=_vae(),
        text_encoder=_clip(CLIPTextModel, CLIP_WIDTHS[0], clip),
        tokenizer=clip,
        text_encoder_2=_t5(t5),
        tokenizer_2=t5,
        transformer=transformer,
    )
