"""What frozen models see in images is computed once, and never out of date."""

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import loaded
from composing import compose
from forked import Forked
from vwtransfer.config.composition import package_folder
from vwtransfer.datasets import Dataset, Example
from vwtransfer.models.cache import Cache, ImageEncoder, Tensors
from vwtransfer.models.suite import build, build_part
from vwtransfer.tasks.registry import BUILT_IN
from vwtransfer.training.word_batches import WordBatch
from vwtransfer.words.cells import Cell

# a model -> the folder of its weights
TINY = {
    "tiny_sd": "generation",
    "tiny_owlv2": "detection",
    "tiny_clip": "classification",
    "tiny_siglip": "tiny_siglip",
}
WEIGHTS = Path(package_folder("vwtransfer.tinyworld")) / "weights"
# the module of each model that looks at images
EYES: dict[str, Callable[[Any], torch.nn.Module]] = {
    "tiny_sd": lambda model: model.pipeline.vae.encoder,
    "tiny_owlv2": lambda model: model.model.owlv2.vision_model,
    "tiny_clip": lambda model: model.model.visual,
    "tiny_siglip": lambda model: model.model.vision_model,
}


def model(name: str, folder: Path | None, *options: str) -> Any:
    """A model as a process of its own would build it."""
    where = "null" if folder is None else folder
    keys = ["model=tiny_families", f"cache.folder={where}"]
    keys += [f"model.{name}.{option}" for option in options]
    with loaded.apart():
        return build(compose(keys), torch.device("cpu")).models[name]


def dataset(**changes: object) -> Dataset:
    node = dict(compose(["dataset.tiny_shapes.training_images=2"]).dataset["tiny_shapes"].node)
    node["concepts"] = dict(list(node["concepts"].items())[:2])
    part: Dataset = build_part(node | {"held_out_images": 2} | changes, "dataset.tiny_shapes")
    return part


def tensors(features: Any) -> Tensors:
    values = {field.name: getattr(features, field.name) for field in fields(features)}
    return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}


def counter(name: str, found: Any) -> Callable[[], int]:
    """How often the frozen model has looked at images since."""
    passes: list[object] = []
    EYES[name](found).register_forward_hook(lambda *_: passes.append(1))
    return lambda: len(passes)


def looks(name: str, found: Any, images: Dataset) -> int:
    """How often the frozen model looks at images while the features are made."""
    count = counter(name, found)
    found.features(images)
    return count()


def trained(name: str, found: Any, features: Any, images: Dataset) -> torch.Tensor:
    """A word after a few steps."""
    cell = Cell("tiny_shapes", name, next(iter(images.concepts)), "zepu", math.inf, 0)
    batch = WordBatch.start([cell], found.text, 4, {"lr": 1e-3})
    images_SB = found.batches(features, cell)
    for step in range(3):
        loss_N = found.loss(batch.vectors_NKD, features, images_SB[step][None], [cell], step)
        batch.update(loss_N, in_tail=False)
    return batch.vectors_NKD.detach()


@pytest.mark.parametrize("name", TINY)
def test_what_is_cached_is_what_would_be_computed_and_trains_the_same_word(
    name: str, tmp_path: Path
) -> None:
    images = dataset()
    seen, words = [], []
    for folder, passes in ((None, 1), (tmp_path, 1), (tmp_path, 0)):  # none, cold and warm
        found = model(name, folder)
        count = counter(name, found)
        features = found.features(images)
        assert count() == passes
        seen.append(tensors(features))
        words.append(trained(name, found, features, images))
    for other, word in zip(seen[1:], words[1:], strict=True):
        for key, tensor in seen[0].items():
            assert torch.equal(tensor, other[key]), key
        assert torch.equal(words[0], word)


@pytest.mark.parametrize("name", ["tiny_owlv2", "tiny_clip"])
def test_measuring_looks_at_no_image_that_was_seen_before(name: str, tmp_path: Path) -> None:
    images = dataset()
    measured = []
    for _ in range(2):
        found = model(name, tmp_path)
        count = counter(name, found)
        with torch.no_grad():
            prompts = found.text.encode_text(["a photo of red striped star"])
        concepts, measures = [next(iter(images.concepts))], BUILT_IN[found.task]()
        values = measures.measure(found, prompts, measures.held_out(found, images), concepts)
        measured.append((values, count()))
    (first, looked), (second, looked_again) = measured
    assert looked > 0
    assert looked_again == 0
    assert first[0].values == second[0].values


@pytest.mark.parametrize("name", TINY)
def test_another_image_is_looked_at(name: str, tmp_path: Path) -> None:
    model(name, tmp_path).features(dataset())
    assert looks(name, model(name, tmp_path), dataset(seed=1)) == 1


def test_a_photo_that_was_changed_in_its_place_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    example = Example("photo", "cat", lambda: Image.open(path).convert("RGB"), (), ())
    found = model("tiny_clip", tmp_path / "cache")
    seen = []
    for shade in (40, 41):
        Image.new("RGB", (50, 40), (shade, 90, 90)).save(path)
        os.utime(path, (0, 0))  # the same name, size and time
        seen += [tensors["image_ME"] for tensors in found._image_encoder.batches([example])]
    assert not torch.equal(*seen)


WEIGHT_FILES = {
    "tiny_sd": "vae/diffusion_pytorch_model.safetensors",
    "tiny_owlv2": "model.safetensors",
    "tiny_clip": "open_clip_model.safetensors",
    "tiny_siglip": "model.safetensors",
}


@pytest.mark.parametrize("name", TINY)
def test_another_checkpoint_in_the_same_place_is_asked_itself(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(WEIGHTS / TINY[name], folder)
    option = f"checkpoint={folder}"
    model(name, tmp_path / "cache", option).features(dataset())
    path = folder / WEIGHT_FILES[name]
    weights = load_file(path)
    changed = next(key for key in sorted(weights) if key.endswith("weight"))
    weights[changed] = weights[changed] * 1.001
    save_file(weights, path, {"format": "pt"})
    assert looks(name, model(name, tmp_path / "cache", option), dataset()) == 1


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("tiny_sd", "image_size=40"),
        ("tiny_sd", "dtype=bfloat16"),
        ("tiny_sd", "channels_last=true"),
        ("tiny_owlv2", "dtype=bfloat16"),
        ("tiny_owlv2", "attention=eager"),
        ("tiny_clip", "dtype=bfloat16"),
        ("tiny_siglip", "attention=eager"),
    ],
)
def test_another_size_or_precision_is_computed_anew(name: str, option: str, tmp_path: Path) -> None:
    model(name, tmp_path).features(dataset())
    assert looks(name, model(name, tmp_path, option), dataset()) == 1


@pytest.mark.parametrize(
    ("name", "file", "said", "instead"),
    [
        ("tiny_owlv2", "processor_config.json", '"resample": 2', '"resample": 3'),
        ("tiny_clip", "open_clip_config.json", '"bicubic"', '"bilinear"'),
        ("tiny_siglip", "processor_config.json", '"resample": 3', '"resample": 2'),
        ("tiny_sd", "vae/config.json", '"scaling_factor": ', '"scaling_factor": 1'),
    ],
)
def test_another_preprocessing_is_computed_anew(
    name: str, file: str, said: str, instead: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(WEIGHTS / TINY[name], folder)
    option, text = f"checkpoint={folder}", (folder / file).read_text()
    assert said in text
    model(name, tmp_path / "cache", option).features(dataset())
    (folder / file).write_text(text.replace(said, instead))
    assert looks(name, model(name, tmp_path / "cache", option), dataset()) == 1


_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from test_cache import TINY, dataset, model
for name in TINY:
    model(name, Path(sys.argv[1])).features(dataset())
"""


def test_a_process_reads_what_another_has_kept(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", _ANOTHER_PROCESS, str(tmp_path)]
    subprocess.run(command, check=True, env=environment)
    assert [looks(name, model(name, tmp_path), dataset()) for name in TINY] == [0] * len(TINY)


def entry(value: float) -> Tensors:
    return {"a": torch.full((1000,), float(value))}


def test_tensors_are_mapped_from_their_file(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10**9)
    cache.write("key", {"a": torch.ones(1000, 1000)})
    read = cache.read("key")
    assert read is not None
    maps = Path("/proc/self/maps").read_text()
    assert str(tmp_path / "key.safetensors") in maps
    assert torch.equal(read["a"], torch.ones(1000, 1000))


def test_what_was_not_read_for_longest_makes_room(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 3 * 4200)
    for place, key in enumerate("abc"):
        cache.write(key, entry(place))
        os.utime(tmp_path / f"{key}.safetensors", (place, place))
    kept = cache.read("a")
    cache.write("d", entry(3))
    assert cache.read("b") is None
    assert kept is not None and torch.equal(kept["a"], entry(0)["a"])
    assert all(cache.read(key) is not None for key in "acd")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= cache.most_bytes


def test_nothing_that_is_not_the_cache_s_own_is_removed(tmp_path: Path) -> None:
    foreign = [tmp_path / ".important", tmp_path / "words.safetensors", tmp_path / ".git" / "head"]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(2000))
        os.utime(path, (0, 0))
    left = tmp_path / f".{'a' * 64}.safetensors.17.0badcafe"
    left.touch()
    os.utime(left, (0, 0))
    cache = Cache(tmp_path, 1000)
    for name in "bcd":
        cache.write(name * 64, {"x": torch.zeros(150)})
    assert all(path.exists() for path in foreign)
    assert not left.exists()
    assert len(list(tmp_path.glob("?" * 64 + ".safetensors"))) == 1


def test_what_is_larger_than_the_bound_pushes_nothing_out(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 5000)
    cache.write("small", entry(1))
    cache.write("large", {"a": torch.ones(100_000)})
    assert cache.read("large") is None
    assert cache.read("small") is not None


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b'\x08\0\0\0\0\0\0\0{"a": 1}'])
def test_a_damaged_entry_is_computed_anew(tmp_path: Path, content: bytes) -> None:
    cache = Cache(tmp_path, 10**9)
    cache.write("key", entry(1))
    whole = (tmp_path / "key.safetensors").read_bytes()
    for damaged in (content, whole[: len(whole) // 2]):
        (tmp_path / "key.safetensors").write_bytes(damaged)
        assert cache.read("key") is None
    cache.write("key", entry(1))
    assert cache.read("key") is not None


def test_a_place_that_cannot_be_written_to_costs_a_warning_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    Cache(tmp_path / "file" / "cache", 10**9).write("key", entry(1))
    assert "what models read is not kept" in caplog.text


def see_mean(_model: torch.nn.Module, _: Any, images: Sequence[Image.Image]) -> Tensors:
    return {"mean": torch.tensor([float(np.asarray(image)[0, 0, 0]) for image in images])}


def write_and_evict(folder: Path) -> None:
    cache = Cache(folder, 60_000)
    for _ in range(30):
        for key in range(20):
            read = cache.read(str(key))
            if read is None:
                cache.write(str(key), entry(key))
            else:
                assert torch.equal(read["a"], entry(key)["a"]), key


def test_processes_that_write_and_evict_at_once_read_whole_entries(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    writers = [Forked(partial(write_and_evict, folder), tmp_path / name) for name in "ab"]
    write_and_evict(folder)  # the third is this process
    for writer in writers:
        assert writer.wait() == 0, writer.errors
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 60_000
    assert not list(folder.glob(".*"))


def test_only_the_batches_with_another_image_are_looked_at_again(tmp_path: Path) -> None:
    shades = list(range(6))

    def draw(i: int) -> Image.Image:
        return Image.new("RGB", (4, 4), (shades[i], 0, 0))

    examples = [Example(str(i), "cat", partial(draw, i), (), ()) for i in range(6)]
    looked: list[int] = []

    def see(model: Any, preprocess: Any, images: Sequence[Image.Image]) -> Tensors:
        looked.append(len(images))
        return see_mean(model, preprocess, images)

    encoder = ImageEncoder(see, torch.nn.Linear(1, 1), None, 2, (), Cache(tmp_path, 10**9))
    list(encoder.batches(examples))
    shades[3] = 99
    again = torch.cat([tensors["mean"] for tensors in encoder.batches(examples)])
    assert looked == [2, 2, 2, 2]
    assert again.tolist() == [0, 1, 2, 99, 4, 5]
