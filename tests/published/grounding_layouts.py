"""Writes the checkpoints of Grounding DINO in their own layout, with random weights.

The vocabulary stands for BERT's: as large, with its special tokens and full stop in their places,
and CLIP's words for its own.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import open_clip
import torch
import transformers
from safetensors.torch import save_file

CONFIGS = Path(__file__).parent / "configs"
REPOSITORIES = {
    "grounding_dino_base": ("detection", "grounding-dino-base"),
    "mm_grounding_dino_base": ("detection", "mm_grounding_dino_base_all"),
}
NAMES = tuple(repository for _, repository in REPOSITORIES.values())
VOCABULARY = 30522
FIXED = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
FIRST = 1996  # word of BERT's: "the"


def write(name: str, folder: Path, *, shallow: bool) -> Path:
    """Writes the checkpoint `name` into `folder`; shallow: few layers, small images."""
    here = folder / name
    shutil.copytree(CONFIGS / name, here)
    config = json.loads((here / "config.json").read_text())
    if shallow:
        config |= {"encoder_layers": 1, "decoder_layers": 2, "num_queries": 60}
        config["backbone_config"]["depths"] = [1, 1, 1, 1]
        config["text_config"]["num_hidden_layers"] = 1
        (here / "config.json").write_text(json.dumps(config, indent=2))
        path = here / "preprocessor_config.json"
        sizes = {"size": {"shortest_edge": 96, "longest_edge": 160}}
        path.write_text(json.dumps(json.loads(path.read_text()) | sizes, indent=2))
    (here / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")
    torch.manual_seed(0)
    kind: Any = getattr(transformers, config["architectures"][0])
    model = kind(kind.config_class.from_pretrained(here))
    model.tie_weights()
    with torch.no_grad():  # logits of a few units, as trained ones are, and not of fifty
        for norm in (model.model.decoder.layer_norm, model.model.enc_output_norm):
            norm.weight *= 0.05
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    whole: dict[int, str] = {}  # tensors that are one are saved once, as the library does
    for key in sorted(tensors):
        whole.setdefault(tensors[key].data_ptr(), key)
    save_file({key: tensors[key] for key in whole.values()}, here / "model.safetensors")
    return here


def vocabulary() -> list[str]:
    """Tokens in the order of their ids."""
    tokens = open_clip.tokenizer.SimpleTokenizer().encoder
    words = sorted(t[:-4] for t in tokens if t.endswith("</w>") and t[:-4].isascii())
    words = [word for word in words if word.isalpha() and len(word) > 1]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789!\"#$%&'()*+,-/:;<=>@[]^_`{|}~"
    pieces = [*letters, *(f"##{letter}" for letter in letters)]
    found = {number: token for token, number in FIXED.items()}
    found |= {FIRST - len(pieces) + i: piece for i, piece in enumerate(pieces)}
    found |= dict(zip(range(FIRST, VOCABULARY), words, strict=False))
    return [found.get(number, f"[unused{number}]") for number in range(VOCABULARY)]
