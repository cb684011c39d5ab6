"""Seconds and memory of a conversion at published sizes, sd15 -> sdxl, with random weights.

    python benchmarks/convert_published.py [--prompts 16] [--words 4] [--threads 2]

Builds the two models' text encoders in a temporary folder (2 GB), loads them as action=convert
does, times some calibration prompts and a few steps of the search, and counts up to all of them.
Seconds are of the processor, summed over threads, so that other work on the machine does not count.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests" / "published"))
import layouts  # noqa: E402

from vwtransfer.config.composition import compose  # noqa: E402
from vwtransfer.conversion.converter import PROBE_STEPS, Converter  # noqa: E402
from vwtransfer.models.suite import build, build_part  # noqa: E402

MODELS = {"sd15": "stable-diffusion-v1-5", "sdxl": "stable-diffusion-xl-base-1.0"}
CLASSES = {
    ("sd15", "text_encoder"): "CLIPTextModel",
    ("sdxl", "text_encoder"): "CLIPTextModel",
    ("sdxl", "text_encoder_2"): "CLIPTextModelWithProjection",
}
STEPS, PROMPTS = 150, 8000  # of readout_matching


def write(name: str, folder: Path) -> Path:
    """The text encoders of a published model with random weights, as its repository has them."""
    published = layouts.CONFIGS / MODELS[name]
    here = folder / name
    for path in published.rglob("*"):
        if path.is_file() and path.parent.name.startswith(("tokenizer", "text_encoder")):
            copy = here / path.relative_to(published)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (here / "model_index.json").write_bytes((published / "model_index.json").read_bytes())
    for tokenizer in here.glob("tokenizer*"):
        layouts._write_vocabulary(tokenizer)
    for (model, part), kind in CLASSES.items():
        if model == name:
            config = json.loads((here / part / "config.json").read_text())
            with torch.device("meta"):
                encoder = getattr(transformers, kind)(transformers.CLIPTextConfig(**config))
            encoder = encoder.half().to_empty(device="cpu")
            stream = torch.Generator().manual_seed(0)
            for tensor_name, tensor in encoder.state_dict().items():
                if tensor.is_floating_point():
                    norm = "norm" in tensor_name and tensor_name.endswith("weight")
                    tensor.fill_(1) if norm else tensor.normal_(0, 0.02, generator=stream)
            encoder.save_pretrained(here / part)
    return here


def timed(what: str, work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and the processor's seconds."""
    began, clock = time.process_time(), time.perf_counter()
    found = work()
    spent, passed = time.process_time() - began, time.perf_counter() - clock
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{what}: {spent:.1f} s of the processor, {passed:.1f} s passed; peak {peak:.1f} GB",
        flush=True,
    )
    return found, spent


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--words", type=int, default=4)
    parser.add_argument("--vectors", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as place:
        folders, _ = timed("write", lambda: {n: write(n, Path(place)) for n in MODELS})
        keys = [f"model.{name}.checkpoint={folder}" for name, folder in folders.items()]
        keys += [f"model.{name}.dtype=float32" for name in MODELS]
        config = compose(["action=convert", "source=sd15", "target=sdxl", "word=a.pt", *keys])
        models = build(config, torch.device("cpu")).models
        source, target = (
            timed(f"load {name}", lambda name=name: models[name].text)[0] for name in MODELS
        )
        node = {**config.transfer.node, "calibration_prompts": asked.prompts, "neighbours": 8}
        converter = Converter(source, target, build_part(node, "transfer"), node)
        _, fit = timed(
            f"fit on {asked.prompts} prompts", lambda: converter.map_for("a photo of {}")
        )
        words_NKD = 0.02 * torch.randn(asked.words, asked.vectors, source.width)
        began = time.process_time()
        converter.seconds_per_word(words_NKD, "a photo of {}")
        spent = (time.process_time() - began) / 2 / PROBE_STEPS / asked.words
        timed("after the search", lambda: None)
        print(f"a word: {spent * STEPS:.0f} s of the processor ({STEPS} steps)")
        print(
            f"reading {PROMPTS} prompts: at most {fit / asked.prompts * PROMPTS / 60:.0f} min of it"
        )


if __name__ == "__main__":
    main()
