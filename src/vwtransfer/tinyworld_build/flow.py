"""The generator of FLUX's kind: T5 and CLIP, a transformer, flow matching on packed latents.

It draws into the latent space of the first generator's autoencoder, whose trained weights it takes
over.

Letters of shapes: B batch, C latent channels, H and W height and width, P packed patches, L tokens,
E width of a pooled state, D width of a state.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel, T5TokenizerFast

from vwtransfer.files import write_text
from vwtransfer.tinyworld.lexicon import support, words
from vwtransfer.tinyworld.world import Scene
from vwtransfer.tinyworld_build.autoencoder import LATENT_CHANNELS, PIXELS, encoded
from vwtransfer.tinyworld_build.clips import text_config
from vwtransfer.tinyworld_build.contrastive import PatchHeads, patch_targets, token_ids
from vwtransfer.tinyworld_build.generator import (
    LATENT_SIDE,
    ONE_OR_TWO,
    captions,
    tidy_config,
    times,
)
from vwtransfer.tinyworld_build.pool import Pool, draw_pool, sample_scenes
from vwtransfer.tinyworld_build.sentences import SceneReader, sentence_loss
from vwtransfer.tinyworld_build.stage import Chance, Loss
from vwtransfer.tinyworld_build.stages import Build, write_folder
from vwtransfer.tinyworld_build.tokenizer import save_tokenizer, tokenizer
from vwtransfer.tinyworld_build.unet_generators import done, first_autoencoder
from vwtransfer.tinyworld_build.unigram import train_unigram

CLIP_WIDTH, T5_WIDTH = 64, 96
HEADS, HEAD_WIDTH, AXES = 4, 32, (8, 12, 12)
READ_BLOCK = 1  # single-stream block whose states tell what lies under each patch


def build_clip(seed: int) -> CLIPTextModel:
    """The text encoder whose pooled state alone is read, with random weights."""
    torch.manual_seed(seed)
    return CLIPTextModel(CLIPTextConfig(**text_config(CLIP_WIDTH, 3)))


def build_t5(seed: int, tokens: Any) -> T5EncoderModel:
    """The text encoder whose states are read, with random weights.

    Args:
        seed: of the weights.
        tokens: its tokenizer.
    """
    torch.manual_seed(seed)
    model = T5EncoderModel(
        T5Config(
            vocab_size=len(tokens),
            d_model=T5_WIDTH,
            d_kv=24,
            d_ff=192,
            num_layers=3,
            num_heads=4,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
        )
    )
    # The library draws rows of unit deviation, which the rates of small models hardly move; all
    # that is added to them is made smaller alike, and the norms behind undo it.
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("shared.weight", "SelfAttention.o.weight", "wo.weight")):
                weight.mul_(0.1)
    return model


def build_transformer(seed: int) -> FluxTransformer2DModel:
    """The transformer with random weights, without an embedding of guidance (as FLUX.1 schnell)."""
    torch.manual_seed(seed)
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * LATENT_CHANNELS,
        num_layers=1,
        num_single_layers=4,
        attention_head_dim=HEAD_WIDTH,
        num_attention_heads=HEADS,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=CLIP_WIDTH,
        axes_dims_rope=AXES,
    )


@dataclass(frozen=True)
class Readers:
    """The two text encoders and the tokenizer of the second."""

    clip: CLIPTextModel
    t5: T5EncoderModel
    tokens: Any

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """pooled_BE of CLIP."""
        pooled_BE: Tensor = self.clip(input_ids=token_ids(tokenizer(), list(texts))).pooler_output
        return pooled_BE

    def states(self, texts: Sequence[str]) -> Tensor:
        """states_BLD of T5, padding included: the pipeline masks nothing."""
        states_BLD: Tensor = self.t5(token_ids(self.tokens, list(texts))).last_hidden_state
        return states_BLD

    def save(self, folder: Path) -> None:
        """Writes all three into a folder."""
        for name in ("clip", "t5", "tokens"):
            getattr(self, name).save_pretrained(folder / name)

    @classmethod
    def load(cls, folder: Path) -> "Readers":
        """What `save` wrote."""
        return cls(
            CLIPTextModel.from_pretrained(folder / "clip"),
            T5EncoderModel.from_pretrained(folder / "t5"),
            T5TokenizerFast.from_pretrained(folder / "tokens"),
        )


def reading_loss(
    readers: Readers, heads: Sequence[SceneReader], scenes: Sequence[Scene], batch: int
) -> Loss:
    """Both encoders' contrast of captions with scenes; of T5 the mean state is read."""
    ways: tuple[Callable[[list[str]], Tensor], ...] = (
        readers.pooled,
        lambda texts: readers.states(texts).mean(dim=1),
    )
    losses = [
        sentence_loss(read, head, scenes, batch) for read, head in zip(ways, heads, strict=True)
    ]

    def loss(chance: Chance) -> Mapping[str, Tensor]:
        return {
            f"{name} {encoder}": value
            for encoder, one in zip(("clip", "t5"), losses, strict=True)
            for name, value in one(chance).items()
        }

    return loss


def fit_latents(model: AutoencoderKL, pool: Pool) -> None:
    """Sets the shift and the factor that bring latents to mean zero and unit deviation."""
    mean_BCHW = encoded(model, pool.images_BCHW[:1024])[:, :LATENT_CHANNELS]
    shift, scale = round(float(mean_BCHW.mean()), 4), round(1 / float(mean_BCHW.std()), 4)
    model.register_to_config(shift_factor=shift, scaling_factor=scale)


def flow_loss(
    transformer: FluxTransformer2DModel,
    readers: Readers,
    heads: PatchHeads,
    autoencoder: AutoencoderKL,
    pool: Pool,
    batch: int,
) -> Loss:
    """The flow-matching objective, for transformer and text encoders together.

    As in the first generator half of the times are drawn towards the middle, and states half way
    have to tell what is being drawn where.
    """
    patches = patch_targets(pool, 2 * PIXELS // LATENT_SIDE, PIXELS)
    posterior = encoded(autoencoder, pool.images_BCHW)
    scale, shift = autoencoder.config.scaling_factor, autoencoder.config.shift_factor
    side = LATENT_SIDE // 2
    places_P3 = FluxPipeline._prepare_latent_image_ids(batch, side, side, "cpu", torch.float32)

    def loss(chance: Chance) -> Mapping[str, Tensor]:
        rows = torch.randint(len(pool.scenes), (batch,), generator=chance.torch)
        texts = captions(chance, pool, rows)
        mean_BCHW, deviation_BCHW = posterior[rows].chunk(2, dim=1)
        draw_BCHW = torch.randn(mean_BCHW.shape, generator=chance.torch)
        latents_BPC = packed(scale * (mean_BCHW + deviation_BCHW * draw_BCHW - shift))
        noise_BPC = torch.randn(latents_BPC.shape, generator=chance.torch)
        sigma_B = times(batch, chance.torch)
        noisy_BPC = latents_BPC.lerp(noise_BPC, sigma_B[:, None, None])
        states_BLD = readers.states(texts)
        seen: list[Tensor] = []
        block = transformer.single_transformer_blocks[READ_BLOCK]
        hook = block.register_forward_hook(lambda *given: seen.append(given[-1][1]))
        predicted_BPC = transformer(
            hidden_states=noisy_BPC,
            encoder_hidden_states=states_BLD,
            pooled_projections=readers.pooled(texts),
            timestep=sigma_B,
            img_ids=places_P3,
            txt_ids=torch.zeros(states_BLD.shape[1], 3),
        ).sample
        hook.remove()
        aside = heads.losses(seen[0], patches.of(rows))
        return {
            "flow": F.mse_loss(predicted_BPC, noise_BPC - latents_BPC),
            **{name: 0.3 * value for name, value in aside.items()},
        }

    return loss


def packed(latents_BCHW: Tensor) -> Tensor:
    """Latents as the transformer reads them: 2 x 2 patches one after the other, [B, P, 4 C]."""
    B, C, H, W = latents_BCHW.shape
    packed_BPC: Tensor = FluxPipeline._pack_latents(latents_BCHW, B, C, H, W)
    return packed_BPC


def assemble(
    autoencoder: AutoencoderKL, readers: Readers, transformer: FluxTransformer2DModel
) -> FluxPipeline:
    """The pipeline of the trained parts."""
    parts: Sequence[nn.Module] = (autoencoder, readers.clip, readers.t5, transformer)
    for part in parts:
        part.eval()
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder,
        text_encoder=readers.clip,
        tokenizer=tokenizer(),
        text_encoder_2=readers.t5,
        tokenizer_2=readers.tokens,
        transformer=transformer,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_flow_generator(pipeline: FluxPipeline, folder: Path) -> None:
    """Saves the pipeline in float16, as `from_pretrained` reads it."""
    pipeline.to(dtype=torch.float16).save_pretrained(folder, safe_serialization=True)
    save_tokenizer(folder / "tokenizer")
    tidy_config(folder / "vae" / "config.json")
    whole = [f"▁{word}" for word in words()]
    held = [token for token in whole if token in pipeline.tokenizer_2.get_vocab()]
    write_text(folder / "support.txt", "\n".join([*support(), *held]) + "\n")


def flow_text(build: Build) -> float:
    """T5's tokenizer is trained, and both text encoders learn what captions mean."""
    stage = "flow_text"
    seed, recipe = build.seed_of(stage), build.recipes[stage]
    tokens = train_unigram(ONE_OR_TWO)
    readers = Readers(build_clip(seed), build_t5(seed, tokens), tokens)
    heads = [SceneReader(CLIP_WIDTH), SceneReader(T5_WIDTH)]
    scenes = sample_scenes(stage, recipe.pool, ONE_OR_TWO)
    modules = {"clip": readers.clip, "t5": readers.t5, "heads": nn.ModuleList(heads)}
    seconds = build.learn(stage, modules, reading_loss(readers, heads, scenes, recipe.batch))
    write_folder(build.work / stage, readers.save)
    return seconds


def flow(build: Build) -> float:
    """The transformer joins the text encoders."""
    recipe, readers = build.recipes["flow"], Readers.load(done(build, "flow_text"))
    autoencoder = first_autoencoder(build)
    transformer = build_transformer(build.seed_of("flow"))
    heads = PatchHeads(transformer.inner_dim)
    pool = draw_pool("flow", recipe.pool, ONE_OR_TWO, PIXELS)
    fit_latents(autoencoder, pool)
    loss = flow_loss(transformer, readers, heads, autoencoder, pool, recipe.batch)
    modules = {"transformer": transformer, "clip": readers.clip, "t5": readers.t5, "heads": heads}
    seconds = build.learn("flow", modules, loss, clip=0.25, t5=0.25)
    pipeline = assemble(autoencoder, readers, transformer)
    build.publish("tiny_flux", lambda folder: save_flow_generator(pipeline, folder))
    return seconds
