"""Small text encoders of every kind: tokenizers trained on the tiny lexicon, random weights.

`small_encoder(kind)` builds one in well under a second and keeps it; `small_space("clip", "t5")` is
a model's embedding space of several. Vocabularies are smaller than the lexicon: each splits some of
its words.
"""

import json
import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.text_encoder import Encoded, TextEncoder
from vwtransfer.models.vocabulary import of_transformers
from vwtransfer.tinyworld.lexicon import words

CONTEXT = 24
WIDTH = {"clip": 16, "bert": 12, "t5": 20, "siglip": 24, "siglip2": 8, "gemma3": 16, "qwen": 20}
KINDS = tuple(WIDTH)
SMALL: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@dataclass(frozen=True)
class SmallEncoder:
    """A text encoder, and what its library makes of a text without any code of ours.

    Attributes:
        text: the encoder.
        library: text -> states [1, L, D] of all its tokens, padding included.
        tokenizer: the library's.
    """

    text: TextEncoder
    library: Callable[[str], Tensor]
    tokenizer: Any


def small_encoder(kind: str, seed: int = 0) -> SmallEncoder:
    """One of KINDS; another seed gives other weights over the same tokenizer."""
    return _built(kind, seed)


@cache
def _built(kind: str, seed: int) -> SmallEncoder:
    tokenizer = _tokenizer(kind)
    torch.manual_seed(seed)
    model = MODELS[kind](len(tokenizer)).eval().requires_grad_(False)
    with torch.no_grad():  # library defaults are so small that words would hardly matter
        model.get_input_embeddings().weight.normal_()
    embedding = model.encoder.embed_tokens if kind == "t5" else model.get_input_embeddings()

    def states(ids_NL: Tensor, mask_NL: Tensor | None) -> Tensor:
        given = {} if mask_NL is None else {"attention_mask": mask_NL}
        states_NLD: Tensor = model(input_ids=ids_NL, **given).last_hidden_state
        return states_NLD

    def library(text: str) -> Tensor:
        inputs = tokenizer(text, padding="max_length", max_length=CONTEXT, return_tensors="pt")
        with torch.no_grad():
            return states(inputs["input_ids"], inputs.get("attention_mask"))

    causal, position = READ[kind]
    vocabulary = of_transformers(tokenizer, CONTEXT, causal=causal, read_position=position)
    text = TextEncoder(
        vocabulary,
        embedding,
        lambda ids_NL, mask_NL: Encoded(states_NLD=states(ids_NL, mask_NL)),
        only_pooled=False,
    )
    return SmallEncoder(text, library, tokenizer)


def small_space(
    *kinds: str, seed: int = 0, eligible: Sequence[str] | None = None
) -> EmbeddingSpace:
    """The embedding space of a model with these encoders, named by their kinds."""
    return EmbeddingSpace(
        {kind: small_encoder(kind, seed).text for kind in kinds}, eligible, "small"
    )


@cache
def _tokenizer(kind: str) -> Any:
    return TOKENIZERS[kind]()


def _trained(tokenizer: Tokenizer, trainer: Any, corpus: Iterable[str]) -> Any:
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def _corpus() -> list[str]:
    """Each word of the lexicon in sentences, words at its start more often: these stay whole."""
    known = words()
    return [
        f"a photo of {word} with the {known[-1 - place]}"
        for place, word in enumerate(known)
        for _ in range(1 + 6 * (place % 3 == 0))
    ]


def _clip() -> Any:
    from transformers import CLIPTokenizer

    special = ["<|startoftext|>", "<|endoftext|>"]
    raw = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        end_of_word_suffix="</w>",
        special_tokens=[*letters, *(f"{letter}</w>" for letter in letters)],  # in this order
        show_progress=False,
    )
    vocabulary, merges = _bpe(_trained(raw, trainer, _corpus()))
    return CLIPTokenizer(vocab=_with(vocabulary, special), merges=merges, model_max_length=CONTEXT)


def _bert() -> Any:
    from transformers import BertTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces = [f"##{letter}" for letter in string.ascii_lowercase]
    trainer = trainers.WordPieceTrainer(
        vocab_size=400,
        special_tokens=[*special, *pieces],  # in this order, whatever runs first
        show_progress=False,
    )
    vocabulary = _trained(raw, trainer, _corpus()).get_vocab()
    return BertTokenizerFast(vocab=vocabulary, model_max_length=CONTEXT)


def _unigram_tokenizer(**options: Any) -> Any:
    """Two of three words, letters, and pairs of letters, with made-up scores."""
    from transformers import T5TokenizerFast

    known = words()
    whole = [f"▁{word}" for place, word in enumerate(known) if place % 3 or len(word) < 3]
    pairs = sorted({word[i : i + 2] for word in known for i in range(len(word) - 1)})
    letters = sorted({letter for word in known for letter in word})
    scored = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -9.0)]
    scored += [(piece, -5.0) for piece in whole]
    scored += [(pair, -8.0) for pair in pairs] + [(letter, -9.0) for letter in letters]
    return T5TokenizerFast(vocab=scored, extra_ids=2, model_max_length=CONTEXT, **options)


def _t5() -> Any:
    return _unigram_tokenizer()


def _siglip() -> Any:
    """SigLIP 1: T5's kind, lower case, no mask, padded with the end token."""
    tokenizer = _unigram_tokenizer(model_input_names=["input_ids"])
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pad_token = "</s>"
    return tokenizer


def _gemma_pieces() -> tuple[dict[str, int], list[tuple[str, str]]]:
    raw = Tokenizer(models.BPE())
    raw.normalizer = normalizers.Replace(" ", "▁")
    raw.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=400, show_progress=False)
    vocabulary, merges = _bpe(_trained(raw, trainer, _corpus()))
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    first = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    ordered = [*first, *sorted(vocabulary, key=vocabulary.__getitem__)]
    return {token: number for number, token in enumerate(dict.fromkeys(ordered))}, merges


def _siglip2() -> Any:
    """SigLIP 2: Gemma's kind in lower case, an end token, padded on the right."""
    from transformers import Siglip2Tokenizer

    vocabulary, merges = _gemma_pieces()
    tokenizer: Any = Siglip2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        add_bos_token=False,
        add_eos_token=True,
        padding_side="right",
        model_input_names=["input_ids"],
        model_max_length=CONTEXT,
    )
    return tokenizer


def _gemma() -> Any:
    """Gemma: a start token, padded on the left."""
    from transformers import GemmaTokenizerFast

    vocabulary, merges = _gemma_pieces()
    return GemmaTokenizerFast(
        vocab=vocabulary, merges=merges, padding_side="left", model_max_length=CONTEXT
    )


def _qwen() -> Any:
    from transformers import Qwen2TokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    several = [*_corpus(), *["a photo of café and фото"] * 20]
    vocabulary, merges = _bpe(_trained(raw, trainer, several))
    return Qwen2TokenizerFast(
        vocab=_with(vocabulary, ["<|endoftext|>"]),
        merges=merges,
        padding_side="right",
        model_max_length=CONTEXT,
    )


def _bpe(trained: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    merges = json.loads(trained.to_str())["model"]["merges"]
    return trained.get_vocab(), [tuple(pair) for pair in merges]


def _with(vocabulary: dict[str, int], special: list[str]) -> dict[str, int]:
    return {**vocabulary, **{token: len(vocabulary) + n for n, token in enumerate(special)}}


def _clip_model(size: int) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=size,
        hidden_size=WIDTH["clip"],
        max_position_embeddings=CONTEXT,
        eos_token_id=size - 1,
        **SMALL,
    )
    return CLIPTextModel(config)


def _bert_model(size: int) -> Any:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=size, hidden_size=WIDTH["bert"], max_position_embeddings=CONTEXT, **SMALL
    )
    return BertModel(config)


def _t5_model(size: int) -> Any:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=size, d_model=WIDTH["t5"], d_kv=8, d_ff=32, num_layers=2, num_heads=2
    )
    return T5EncoderModel(config)


def _siglip_model(kind: str) -> Callable[[int], Any]:
    def build(size: int) -> Any:
        from transformers import SiglipTextConfig, SiglipTextModel

        config = SiglipTextConfig(
            vocab_size=size, hidden_size=WIDTH[kind], max_position_embeddings=CONTEXT, **SMALL
        )
        return SiglipTextModel(config)

    return build


def _gemma3_model(size: int) -> Any:
    from transformers import Gemma3TextConfig, Gemma3TextModel

    config = Gemma3TextConfig(
        vocab_size=size,
        hidden_size=WIDTH["gemma3"],
        head_dim=8,
        num_key_value_heads=1,
        pad_token_id=0,
        **SMALL,
    )
    return Gemma3TextModel(config)


def _qwen_model(size: int) -> Any:
    from transformers import Qwen2Config, Qwen2Model

    config = Qwen2Config(vocab_size=size, hidden_size=WIDTH["qwen"], num_key_value_heads=1, **SMALL)
    return Qwen2Model(config)


TOKENIZERS: dict[str, Callable[[], Any]] = {
    "clip": _clip,
    "bert": _bert,
    "t5": _t5,
    "siglip": _siglip,
    "siglip2": _siglip2,
    "gemma3": _gemma,
    "qwen": _qwen,
}
MODELS: dict[str, Callable[[int], Any]] = {
    "clip": _clip_model,
    "bert": _bert_model,
    "t5": _t5_model,
    "siglip": _siglip_model("siglip"),
    "siglip2": _siglip_model("siglip2"),
    "gemma3": _gemma3_model,
    "qwen": _qwen_model,
}
READ: dict[str, Any] = {  # whether attention is causal, and where a prompt is read off
    "clip": (True, "end"),
    "bert": (False, "first"),
    "t5": (False, None),
    "siglip": (False, "last"),
    "siglip2": (False, "last"),
    "gemma3": (True, None),
    "qwen": (True, None),
}
