"""The text encoders of the tiny world, loaded through their libraries alone."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch.nn.functional as F
from torch import Tensor

import vwtransfer.tinyworld
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.open_clip_text import text_blocks, text_forward, token_embedding
from vwtransfer.models.text_encoder import Encoded, TextEncoder
from vwtransfer.models.vocabulary import of_open_clip, of_transformers

WEIGHTS = vwtransfer.tinyworld.__path__[0] + "/weights"
TASKS = ("generation", "detection", "classification")


@cache
def space(task: str) -> EmbeddingSpace:
    """The embedding space of a task's model, with the tokens that it ships as eligible."""
    return EmbeddingSpace({"text": _encoder(task)}, f"{WEIGHTS}/support.txt", task)


def _encoder(task: str) -> TextEncoder:
    if task == "generation":
        return _generation()
    return _detection() if task == "detection" else _classification()


def _generation() -> TextEncoder:
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer: Any = CLIPTokenizer.from_pretrained(f"{WEIGHTS}/generation", subfolder="tokenizer")
    model: Any = CLIPTextModel.from_pretrained(
        f"{WEIGHTS}/generation", subfolder="text_encoder", dtype="float32"
    )
    model.eval().requires_grad_(False)

    def forward(ids_NL: Tensor, _mask: Tensor | None) -> Encoded:
        return Encoded(states_NLD=model(input_ids=ids_NL).last_hidden_state)

    vocabulary = of_transformers(tokenizer, tokenizer.model_max_length)
    embedding, blocks = model.get_input_embeddings(), model.encoder.layers
    return TextEncoder(vocabulary, embedding, forward, only_pooled=False, blocks=blocks)


def _detection() -> TextEncoder:
    from transformers import CLIPTokenizer, Owlv2ForObjectDetection

    tokenizer: Any = CLIPTokenizer.from_pretrained(f"{WEIGHTS}/detection")
    model: Any = Owlv2ForObjectDetection.from_pretrained(f"{WEIGHTS}/detection", dtype="float32")
    model.eval().requires_grad_(False)
    tower, projection = model.owlv2.text_model, model.owlv2.text_projection

    def forward(ids_NL: Tensor, _mask: Tensor | None) -> Encoded:
        pooled_ND = tower(input_ids=ids_NL).pooler_output
        return Encoded(pooled_NE=F.normalize(projection(pooled_ND), dim=-1))

    vocabulary = of_transformers(tokenizer, tokenizer.model_max_length)
    embedding, blocks = tower.embeddings.token_embedding, tower.encoder.layers
    return TextEncoder(vocabulary, embedding, forward, only_pooled=True, blocks=blocks)


def _classification() -> TextEncoder:
    import open_clip

    where = f"local-dir:{WEIGHTS}/classification"
    tokenizer: Any = open_clip.get_tokenizer(where)
    model, _ = open_clip.create_model_from_pretrained(where, precision="fp32", device="cpu")
    model.eval().requires_grad_(False)
    vocabulary = of_open_clip(tokenizer, tokenizer.context_length)
    forward = text_forward(model, compiled=False)
    embedding, blocks = token_embedding(model), text_blocks(model)
    return TextEncoder(vocabulary, embedding, forward, only_pooled=True, blocks=blocks)


@cache
def library(task: str) -> Callable[[str], Tensor]:
    """What a task's model's own library makes of a text: states [1, L, D] or a feature [1, E]."""
    text = space(task).encoders["text"]
    if task == "classification":
        import open_clip

        where = f"local-dir:{WEIGHTS}/classification"
        tokenizer: Any = open_clip.get_tokenizer(where)
        model, _ = open_clip.create_model_from_pretrained(where, precision="fp32", device="cpu")
        model.eval()
        return lambda prompt: model.encode_text(tokenizer([prompt]), normalize=True).detach()
    from transformers import CLIPTokenizer

    folder = f"{WEIGHTS}/{task}" + ("/tokenizer" if task == "generation" else "")
    tokenizer = CLIPTokenizer.from_pretrained(folder)

    def encode(prompt: str) -> Tensor:
        inputs = tokenizer([prompt], padding="max_length", return_tensors="pt")
        encoded = text.forward(inputs["input_ids"], None)
        given = encoded.pooled_NE if encoded.states_NLD is None else encoded.states_NLD
        assert given is not None
        return given

    return encode
