"""action=convert: folders of words of other tools taken to another model, on the miniatures."""

import base64
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image, PngImagePlugin
from safetensors.torch import save_file
from torch import Tensor

from vwtransfer.actions.transfer_word import source_of
from vwtransfer.config.composition import compose, package_folder
from vwtransfer.errors import UserError
from vwtransfer.main import dispatch
from vwtransfer.models import Model
from vwtransfer.models.suite import build
from vwtransfer.words.formats import read

TABLE = ("transfer=least_squares", "report=false")  # a map that is fitted at once
SEARCH = ("transfer=readout_matching", "transfer.calibration_prompts=80", "transfer.steps=2")


@pytest.fixture(scope="module")
def models() -> Mapping[str, Model]:
    config = compose(["model/generation=[tiny_sd,tiny_sdxl]"])
    return build(config, torch.device("cpu")).models


@pytest.fixture(scope="module")
def vectors(models: Mapping[str, Model]) -> Tensor:
    """What words are made of: 20 tokens' vectors [20, 96] of tiny_sd."""
    space = models["tiny_sd"].text
    return space.anchor_rows(sorted(space.vocabularies["text"].words)[:20])


def convert(words: Path, *overrides: str, source: str = "tiny_sd") -> None:
    asked = ["action=convert", f"source={source}", f"word={words}", f"outputs={words.parent}/out"]
    target = [] if any(o.startswith("target=") for o in overrides) else ["target=tiny_sdxl"]
    dispatch(compose([*asked, *target, *overrides]))


def rows(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "converted.csv", keep_default_na=False).set_index("file")


def _times(folder: Path) -> dict[Path, int]:
    """Which file each kept reading is in."""
    return {path: path.stat().st_ino for path in folder.rglob(".cache/*.safetensors")}


def png(path: Path, held: Mapping[str, Any] | None) -> None:
    info = PngImagePlugin.PngInfo()
    if held is not None:
        info.add_text("sd-ti-embedding", base64.b64encode(json.dumps(held).encode()).decode())
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("sprung",))


def written(folder: Path, vectors: Tensor, count: int) -> Iterator[str]:
    """So many files by the libraries' own writers, of every format and in every precision."""
    dtypes = (torch.float32, torch.float16, torch.bfloat16)
    for number in range(count):
        own = vectors[: 1 + number % 11].to(dtypes[number % 3]).clone()
        name = f"word{number:03}"
        match number % 6:
            case 0:
                torch.save({f"<{name}>": own[0]}, folder / f"{name}.bin")
            case 1:
                held = {"string_to_token": {"*": 265}, "string_to_param": {"*": own}, "name": name}
                torch.save(held, folder / f"{name}.pt")
            case 2:
                save_file({"emb_params": own}, folder / f"{name}.safetensors")
            case 3:
                save_file({"<a>": own, "<b>": own + 0.1}, folder / f"{name}.safetensors")
            case 4:
                values = {"TORCHTENSOR": own.float().tolist()}
                png(folder / f"{name}.png", {"name": name, "string_to_param": {"*": values}})
            case 5:
                (folder / name).mkdir()
                save_file({f"<{name}>": own}, folder / name / "learned_embeds.safetensors")
        yield name


def test_two_hundred_files_of_every_format_go_through(
    tmp_path: Path, models: Mapping[str, Model], vectors: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "embeddings"
    folder.mkdir()
    names = list(written(folder, vectors, 194))
    torch.save({"<n>": Trap()}, folder / "code.pt")
    (folder / "cut.safetensors").write_bytes((folder / "word002.safetensors").read_bytes()[:90])
    save_file({"clip_l": torch.ones(2, 768), "clip_g": torch.ones(2, 1280)}, folder / "xl.pt")
    torch.save({"<n>": vectors[:15]}, folder / "long.pt")
    torch.save({"<n>": vectors[:12]}, folder / "bad_hands.pt")
    png(folder / "word000.preview.png", None)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"4 of \d+ were not converted"):
        convert(folder, *TABLE)
    assert all(path.read_bytes() == held for path, held in before.items())
    out = folder / "tiny_sdxl"
    table = rows(out)
    assert len(table) == len(names) + 32 + 5  # every sixth file holds two words
    notes = table[table["state"] != "converted"]["note"].to_dict()
    assert set(notes) == {"code.pt", "cut.safetensors", "xl.pt", "long.pt"}
    assert "never run" in notes["code.pt"]
    assert "width 2048, as those of SDXL, and tiny_sd reads 96" in notes["xl.pt"]
    assert "15 vectors is too long: tiny_sd and tiny_sdxl both read at most 14" in notes["long.pt"]
    assert "negative prompts; none was measured" in table.loc["bad_hands.pt", "note"]
    assert table.loc["bad_hands.pt", "prompt"] == "{}"
    width = models["tiny_sdxl"].text.width
    for name in names:
        several = name[4:].isdigit() and int(name[4:]) % 6 == 3
        for file in (f"{name}-a", f"{name}-b") if several else (name,):
            word = read(out / f"{file}.safetensors")
            assert word.vectors_KD.shape[1] == width
    assert "left out: 1 pictures without an embedding" in capsys.readouterr().out


def test_a_converted_word_says_what_it_is_of_and_is_found_again(
    tmp_path: Path, models: Mapping[str, Model], vectors: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "embeddings"
    folder.mkdir()
    save_file({"emb_params": vectors[:3].clone()}, folder / "cat.safetensors")
    torch.save({"<cat>": vectors[:2]}, folder / "cat.pt")
    convert(folder, *SEARCH)
    first = folder / "tiny_sdxl" / "cat.safetensors"
    second = folder / "tiny_sdxl" / "cat_safetensors.safetensors"
    word, written = read(first), first.read_bytes()
    assert (word.model, word.table) == ("tiny_sdxl", models["tiny_sdxl"].text.identity)
    assert word.provenance is not None
    assert word.provenance["source_file"] == "cat.pt"
    assert word.provenance["vectors_in"] == 2
    assert len(read(second).vectors_KD) == 3
    suite = build(compose(["model/generation=[tiny_sd,tiny_sdxl]"]), torch.device("cpu"))
    asked = compose([f"word={first}", "model/generation=[tiny_sd,tiny_sdxl]"])
    assert source_of(asked, suite, word) == "tiny_sdxl"
    page = (folder / "tiny_sdxl" / "converted.html").read_text()
    assert page.count("<h2>cat</h2>") == 2
    assert page.count("<th>tiny_sdxl</th>") == 2
    kept = _times(tmp_path / "out")
    assert len(kept) == 2
    composed = yaml.safe_load((folder / "tiny_sdxl" / "converted.yaml").read_text())
    assert (composed["action"], composed["transfer"]["name"]) == ("convert", "readout_matching")
    capsys.readouterr()
    convert(folder, *SEARCH)
    assert rows(folder / "tiny_sdxl")["state"].tolist() == ["there already"] * 2
    assert first.read_bytes() == written
    assert _times(tmp_path / "out") == kept
    # what lies there is of another word now: it stands, and is named
    torch.save({"<cat>": vectors[:1]}, folder / "cat.pt")
    with pytest.raises(UserError, match="1 of 2 were not converted"):
        convert(folder, *SEARCH)
    assert first.read_bytes() == written
    assert "cat.safetensors is there already, and is not written over" in capsys.readouterr().out
    # and back: a converted word is refused for another model's, and goes home
    with pytest.raises(UserError, match="1 of 1 were not converted"):
        convert(first, *TABLE, "target=tiny_clip")
    convert(first, *TABLE, "target=tiny_sd", "format=diffusers", source="tiny_sdxl")
    home = folder / "tiny_sdxl" / "tiny_sd" / "cat" / "learned_embeds.safetensors"
    assert read(home).vectors_KD.shape == (2, 96)


def test_the_librarys_loader_reads_a_converted_file_as_we_do(
    tmp_path: Path, models: Mapping[str, Model]
) -> None:
    from diffusers import StableDiffusionPipeline

    space = models["tiny_sdxl"].text
    own = space.anchor_rows(sorted(space.vocabularies["clip_l"].words)[:3])
    parts = {name: own[:, part].clone() for name, part in space.slices.items()}
    save_file(parts, tmp_path / "it.safetensors")
    convert(tmp_path / "it.safetensors", *TABLE, "target=tiny_sd", source="tiny_sdxl")
    converted = tmp_path / "tiny_sd" / "it.safetensors"
    weights = Path(package_folder("vwtransfer.tinyworld")) / "weights" / "generation"
    pipeline = StableDiffusionPipeline.from_pretrained(
        weights, unet=None, vae=None, torch_dtype=torch.float32
    )
    pipeline.load_textual_inversion(converted, token="<it>")
    prompt = pipeline.maybe_convert_prompt("a photo of <it>", pipeline.tokenizer)
    ids = pipeline.tokenizer(prompt, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        theirs = pipeline.text_encoder(ids).last_hidden_state
        word_1KD = read(converted).vectors_KD[None]
        ours = models["tiny_sd"].text.encode_words("a photo of {}", word_1KD)
    torch.testing.assert_close(ours.states_NLD, theirs)


def test_what_was_interrupted_goes_on(
    tmp_path: Path, vectors: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "embeddings"
    folder.mkdir()
    for count in range(1, 7):  # words of one number of vectors are one batch
        torch.save({f"<{count}>": vectors[:count]}, folder / f"{count}.pt")
    first = folder / "tiny_sdxl" / "1.safetensors"

    def interrupt() -> None:
        for _ in range(6000):
            if first.exists():
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.002)

    watch = threading.Thread(target=interrupt)
    watch.start()
    asked = (*SEARCH, "transfer.steps=8", "report=false")
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        convert(folder, *asked)
    watch.join()
    states = rows(folder / "tiny_sdxl")["state"]
    assert states["1.pt"] == "converted"
    assert states["6.pt"] == "not converted"
    convert(folder, *asked)
    states = rows(folder / "tiny_sdxl")["state"]
    assert states["1.pt"] == "there already"
    assert states["6.pt"] == "converted"


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (["source=tiny_sd", "target=tiny_sdxl"], "word= is missing, as in vwtransfer"),
        (["source=tiny_sd", "word={here}"], "target= is missing"),
        (["source=tiny_sd", "target=tiny_sd", "word={here}"], "are the same model"),
        (["source=tiny_sdd", "target=tiny_sd"], "source=tiny_sdd: no such model, .*'tiny_sd'"),
        (["source=tiny_sd", "target={here}"], "target=.*: is no file or folder with a model"),
        (["source=tiny_sd", "target={file}"], "is not a whole safetensors file"),
        (["source=tiny_sd", "target={word}"], "holds no text encoder in the layout of"),
        (["source=tiny_sd", "target={sd}", "word={word}"], "have the same text encoders"),
        (["source=tiny_sd", "target=tiny_sdxl", "word={empty}"], "no file that may hold a word"),
    ],
)
def test_what_cannot_be_converted_is_said(tmp_path: Path, asked: list[str], line: str) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"PK\x03\x04")
    (tmp_path / "empty").mkdir()
    save_file({"emb_params": torch.ones(1, 96)}, tmp_path / "word.safetensors")
    weights = Path(package_folder("vwtransfer.tinyworld")) / "weights"
    places = {
        "here": tmp_path,
        "file": tmp_path / "model.ckpt",
        "word": tmp_path / "word.safetensors",
        "empty": tmp_path / "empty",
        "sd": weights / "generation",
    }
    given = [each.format(**places) for each in asked]
    with pytest.raises(UserError, match=line):
        dispatch(compose(["action=convert", f"outputs={tmp_path}/out", *given]))


@pytest.mark.parametrize(
    ("link", "line"),
    [("tiny_sdxl", "is a link to .*elsewhere. .* into="), ("tiny_sdxl/sub", "is not written: ")],
)
def test_a_link_among_the_words_leads_no_converted_word_elsewhere(
    tmp_path: Path, link: str, line: str
) -> None:
    words, elsewhere = tmp_path / "words", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (words / "sub").mkdir(parents=True)
    save_file({"emb_params": torch.ones(1, 96)}, words / "sub" / "a.safetensors")
    (words / link).parent.mkdir(exist_ok=True)
    (words / link).symlink_to(elsewhere)
    with pytest.raises(UserError, match=line):
        convert(words, "transfer=least_squares")
    assert not list(elsewhere.iterdir())


def test_models_are_named_by_config_folder_or_file_whatever_the_suite_is() -> None:
    config = compose(["action=convert", "source=dfn_clip", "target=sdxl", "word=a.pt"])
    assert {"dfn_clip", "sdxl"} <= set(config.model.models)
    assert config.transfer.name == "readout_matching"
    weights = Path(package_folder("vwtransfer.tinyworld")) / "weights"
    config = compose(["action=convert", "source=sd15", f"target={weights}/tiny_sdxl", "word=a.pt"])
    assert config.target == "tiny_sdxl"
    assert config.transfer.name == "combined_matching"
    node = config.model.models["tiny_sdxl"]
    assert node["checkpoint"] == f"{weights}/tiny_sdxl"
    assert node["_target_"].endswith("StableDiffusionXL")


def test_models_are_taken_from_the_hubs_cache_by_id(
    tmp_path: Path, vectors: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, commit = Path(package_folder("vwtransfer.tinyworld")) / "weights", 40 * "a"
    for name, folder in (("sd", "generation"), ("sdxl", "tiny_sdxl")):
        here = tmp_path / "hub" / f"models--somebody--{name}"
        (here / "refs").mkdir(parents=True)
        (here / "refs" / "main").write_text(commit)
        (here / "snapshots").mkdir()
        (here / "snapshots" / commit).symlink_to(weights / folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    save_file({"emb_params": vectors[:3].clone()}, tmp_path / "cat.safetensors")
    ids = [f"into={tmp_path}/ids", "target=somebody/sdxl"]
    convert(tmp_path / "cat.safetensors", *TABLE, *ids, source="somebody/sd")
    folders = [f"into={tmp_path}/folders", f"target={weights}/tiny_sdxl"]
    convert(tmp_path / "cat.safetensors", *TABLE, *folders, source=f"{weights}/generation")
    by_id, by_path = (read(tmp_path / each / "cat.safetensors") for each in ("ids", "folders"))
    assert torch.equal(by_id.vectors_KD, by_path.vectors_KD)
