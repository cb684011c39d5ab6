"""Words in the files of other tools, and what of such files is refused."""

import base64
import json
import math
import os
import pickle
import tempfile
import zipfile
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from safetensors.torch import load_file, save_file

from vwtransfer.errors import UserError
from vwtransfer.files import is_name
from vwtransfer.words.cells import Cell
from vwtransfer.words.containers import LARGEST_PICKLE
from vwtransfer.words.formats import FORMS, SEVERAL, read, write
from vwtransfer.words.store import Word, WordStore
from vwtransfer.words.vectors import LARGEST_FILE, fault

VECTORS = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_is_read_back(tmp_path: Path, form: str) -> None:
    found = read(write(form, VECTORS, "red_star", tmp_path))
    assert torch.equal(found.vectors_KD, VECTORS)
    assert (found.name, found.task, found.model, found.table) == (
        "red_star",
        "generation",
        None,
        None,
    )


@pytest.mark.parametrize("names", SEVERAL)
@pytest.mark.parametrize("form", FORMS)
def test_a_word_of_several_text_encoders_has_a_tensor_for_each(
    tmp_path: Path, form: str, names: tuple[str, ...]
) -> None:
    parts = VECTORS.tensor_split(len(names), dim=1)
    widths = {name: part.shape[1] for name, part in zip(names, parts, strict=True)}
    path = write(form, VECTORS, "red_star", tmp_path, widths)
    written = load_file(path)
    assert set(written) == set(names)
    for name, part in zip(names, parts, strict=True):
        assert torch.equal(written[name], part)
    assert torch.equal(read(path).vectors_KD, VECTORS)


def test_a_word_of_other_text_encoders_has_no_format(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no format holds a word of the encoders bert, t5xxl"):
        write("diffusers", VECTORS, "red_star", tmp_path, {"bert": 3, "t5xxl": 5})


def test_the_files_are_named_and_laid_out_as_their_tools_expect(tmp_path: Path) -> None:
    diffusers = write("diffusers", VECTORS, "red_star", tmp_path)
    assert diffusers.name == "learned_embeds.safetensors"
    assert list(load_file(diffusers)) == ["<red_star>"]
    a1111 = write("a1111", VECTORS, "red_star", tmp_path)
    assert a1111.name == "red_star.safetensors"
    assert list(load_file(a1111)) == ["emb_params"]


def test_a_word_of_this_package_says_which_model_it_is_of(tmp_path: Path) -> None:
    store = WordStore(tmp_path)
    cell = Cell("tiny_shapes", "owl", "red_star", "mipo", math.inf, 0)
    store.save(Word(cell, VECTORS, "detection", "abc", "f", loss=0.0, seconds=0.0))
    found = read(store.path(cell))
    assert torch.equal(found.vectors_KD, VECTORS)
    assert (found.name, found.anchor) == ("red_star", "mipo")
    assert (found.task, found.model, found.table) == ("detection", "owl", "abc")


def test_a_word_of_the_concept_library_is_read(tmp_path: Path) -> None:
    torch.save({"<cat-toy>": VECTORS[0]}, tmp_path / "learned_embeds.bin")
    found = read(tmp_path / "learned_embeds.bin")
    assert torch.equal(found.vectors_KD, VECTORS[:1])
    assert found.name == "cat-toy"


@pytest.mark.parametrize("container", [dict, torch.nn.ParameterDict])
def test_a_word_of_automatic1111_is_read(tmp_path: Path, container: type) -> None:
    parameters = container({"*": torch.nn.Parameter(VECTORS)})
    content = {"string_to_token": {"*": 265}, "string_to_param": parameters, "name": "star"}
    torch.save(content, tmp_path / "star.pt")
    found = read(tmp_path / "star.pt")
    assert torch.equal(found.vectors_KD, VECTORS)
    assert found.name == "star"


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("sprung"),))  # type: ignore[return-value]


def test_code_in_a_pickle_is_refused_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"<cat>": Trap()}, "word.bin")
    Path("bare.pt").write_bytes(pickle.dumps(Trap()))
    for name in ("word.bin", "bare.pt"):
        with pytest.raises(UserError, match=rf"word={name}: .*code .* never run"):
            read(Path(name))
    assert not Path("sprung").exists()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"clip_l": VECTORS, "clip_g": VECTORS[:3]}, "have 4 of clip_l and 3 of clip_g vectors"),
        ({"a": VECTORS, "b": VECTORS}, r"holds 2 \(a, b\)"),
        ({"a": VECTORS[None]}, r"a has the shape \[1, 4, 8\]"),
        ({"a": VECTORS.int()}, "a holds int32, not floats"),
        ({"a": VECTORS > 0}, "a holds bool, not floats"),
        ({"a": VECTORS[:0]}, r"a has the shape \[0, 8\]"),
        ({"a": torch.zeros(1000, 2)}, r"\[1000, 2\]; a word has at most 512 vectors"),
        ({f"layer{i}": VECTORS for i in range(200)}, r"holds 200 \(layer0, .{,40}, \.\.\.\)\.$"),
        ({"a": VECTORS * math.nan}, "a has values that are not finite"),
        ({"a": torch.full((1, 8), -1e30)}, r"a has values up to 1e\+30, so it is no word"),
    ],
)
def test_what_is_no_word_is_refused(
    tmp_path: Path, content: dict[str, torch.Tensor], line: str
) -> None:
    tensors = {name: tensor.clone() for name, tensor in content.items()}
    save_file(tensors, tmp_path / "word.safetensors")
    with pytest.raises(UserError, match=line):
        read(tmp_path / "word.safetensors")


@pytest.mark.parametrize(
    ("tensor", "line"),
    [
        (VECTORS.to(torch.complex64), "holds complex64"),
        (VECTORS.to_sparse(), "is no plain tensor"),
        (VECTORS.to("meta"), "is no plain tensor"),
        (torch.zeros(1).expand(10**6, 10**6), "a word has at most 512 vectors"),
        (torch.tensor(1.0), r"has the shape \[\]"),
    ],
)
def test_tensors_that_are_no_vectors_are_refused(
    tmp_path: Path, tensor: torch.Tensor, line: str
) -> None:
    torch.save({"<a>": tensor}, tmp_path / "word.pt")
    with pytest.raises(UserError, match=line):
        read(tmp_path / "word.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_word_may_be_of_any_floats(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file({"<a>": VECTORS.to(dtype)}, tmp_path / "word.safetensors")
    found = read(tmp_path / "word.safetensors").vectors_KD
    assert torch.equal(found, VECTORS.to(dtype).float())


def test_safetensors_are_read_under_any_suffix(tmp_path: Path) -> None:
    write("diffusers", VECTORS, "star", tmp_path).rename(tmp_path / "word.pt")
    assert torch.equal(read(tmp_path / "word.pt").vectors_KD, VECTORS)
    halves = {"text_encoders_0": VECTORS[:, :3], "text_encoders_1": VECTORS[:, 3:]}
    save_file({k: v.contiguous() for k, v in halves.items()}, tmp_path / "embeddings.pti")
    assert torch.equal(read(tmp_path / "embeddings.pti").vectors_KD, VECTORS)


def test_a_word_in_a_png_of_automatic1111_is_read(tmp_path: Path) -> None:
    held = {"name": "star", "string_to_param": {"*": {"TORCHTENSOR": VECTORS.tolist()}}}
    info = PngImagePlugin.PngInfo()
    info.add_text("sd-ti-embedding", base64.b64encode(json.dumps(held).encode()).decode())
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    found = read(tmp_path / "a.png")
    assert torch.equal(found.vectors_KD, VECTORS)
    assert found.name == "star"


def test_a_folder_of_the_concept_library_is_a_word(tmp_path: Path) -> None:
    torch.save({"<cat-toy>": VECTORS[0]}, tmp_path / "learned_embeds.bin")
    (tmp_path / "token_identifier.txt").write_text("<cat-toy>")
    found = read(tmp_path)
    assert torch.equal(found.vectors_KD, VECTORS[:1])
    assert found.name == "cat-toy"
    (tmp_path / "learned_embeds.bin").rename(tmp_path / "a.bin")
    assert torch.equal(read(tmp_path).vectors_KD, VECTORS[:1])
    (tmp_path / "b.pt").touch()
    with pytest.raises(UserError, match=r"2 files that may be words \(a\.bin, b\.pt\); name one"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("start", "line"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "run 'git lfs pull'"),
        (b"\n<!DOCTYPE html><html>", "is a web page; download the file itself"),
        (b"\x93NUMPY\x01\x00v\x00{'descr'", "is a numpy array; save it by"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "is a JPEG"),
        (b"", "is empty"),
        (b"hello", "is none of the formats that are read"),
    ],
)
def test_what_a_file_is_is_told_from_its_first_bytes(
    tmp_path: Path, start: bytes, line: str
) -> None:
    for name in ("word.bin", "word.safetensors"):
        (tmp_path / name).write_bytes(start)
        with pytest.raises(UserError, match=line):
            read(tmp_path / name)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "word.pt")
    with pytest.raises(UserError, match=r"word\.pt: this is no file"):
        read(tmp_path / "word.pt")


def test_pictures_archives_and_large_files_are_told_as_what_they_are(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="a picture without an embedding in it"):
        read(tmp_path / "a.png")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("word.safetensors", "")
    with pytest.raises(UserError, match="an archive that torch did not write; unpack it"):
        read(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(LARGEST_FILE + 1))
    assert (tmp_path / "a.pt").stat().st_size < 100_000
    with pytest.raises(UserError, match=r"holds 3\d MB, which is no word"):
        read(tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "lists.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + b"]" * LARGEST_PICKLE + b".")
    (tmp_path / "lists.bin").write_bytes(b"\x80\x02" + b"]" * LARGEST_PICKLE + b".")
    for name in ("lists.pt", "lists.bin"):  # an object of each byte
        with pytest.raises(UserError, match="holds 4 MB, which is no word"):
            read(tmp_path / name)
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(UserError, match=r"holds 3\d MB, which is no word"):
        read(tmp_path / "large.bin")


@given(data=st.data())
@settings(max_examples=60, derandomize=True, deadline=None, database=None)
def test_any_bytes_end_in_a_word_or_in_one_line(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "word"
        held = bytearray(data.draw(st.sampled_from(_whole())))
        for place in data.draw(st.lists(st.integers(0, len(held) - 1), max_size=4)):
            held[place] = data.draw(st.integers(0, 255))
        path.write_bytes(held[: data.draw(st.integers(0, len(held)) | st.just(len(held)))])
        _is_read_or_refused(path)


TENSORS = st.builds(
    lambda shape, dtype, fill: torch.full(shape, fill).to(dtype),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool, torch.float8_e4m3fn]),
    st.sampled_from([0.0, 1.0, 1e38, math.inf, math.nan]),
)


@given(
    tensors=st.dictionaries(
        st.text(max_size=4) | st.sampled_from(["vectors", "clip_l", "clip_g", "emb_params"]),
        TENSORS,
        max_size=3,
    ),
    metadata=st.dictionaries(
        st.sampled_from([*asdict(Cell("", "", "", "", 1.0, 0)), "task", "table", "loss"]),
        st.text(max_size=4) | st.sampled_from(["0", "nan", "inf", "-1", "../..", "\0", "[red]"]),
    ),
)
@settings(max_examples=60, derandomize=True, deadline=None, database=None)
def test_any_tensors_end_in_a_word_or_in_one_line(
    tensors: dict[str, torch.Tensor], metadata: dict[str, str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "word.safetensors"
        whole = {"fingerprint": "f", "seconds": "0", "concept": "c"}
        save_file(tensors, path, {**whole, **metadata})
        _is_read_or_refused(path)


@cache
def _whole() -> list[bytes]:
    """A file of each format that is read."""
    with tempfile.TemporaryDirectory() as folder:
        own, other, legacy = (Path(folder) / name for name in ("own", "zip.pt", "old.pt"))
        store = WordStore(own)
        cell = Cell("tiny_shapes", "owl", "red_star", "mipo", math.inf, 0)
        store.save(Word(cell, VECTORS[:1], "detection", "abc", "f", loss=0.0, seconds=0.0))
        torch.save({"<a>": VECTORS[:1]}, other)
        content = {"string_to_param": {"*": VECTORS[:1]}, "name": "star"}
        torch.save(content, legacy, _use_new_zipfile_serialization=False)
        png = PngImagePlugin.PngInfo()
        text = json.dumps({"string_to_param": {"*": {"TORCHTENSOR": [[1.0, 2.0]]}}})
        png.add_text("sd-ti-embedding", base64.b64encode(text.encode()).decode())
        Image.new("RGB", (2, 2)).save(Path(folder) / "a.png", pnginfo=png)
        paths = [store.path(cell), other, legacy, Path(folder) / "a.png"]
        return [path.read_bytes() for path in paths]


def _is_read_or_refused(path: Path) -> None:
    try:
        found = read(path)
    except UserError as refusal:
        assert len(str(refusal).splitlines()) == 1
        assert len(str(refusal)) < 600
        assert str(path) in str(refusal)
        return
    assert is_name(found.name)
    assert not fault(found.vectors_KD)
    assert found.vectors_KD.dtype == torch.float32


def test_missing_and_cut_off_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.pt: there is no such file"):
        read(tmp_path / "nowhere.pt")
    for name in ("cut.safetensors", "cut.pt"):
        whole = tmp_path / f"whole{name}"
        if name.endswith("pt"):
            torch.save({"<a>": VECTORS}, whole)
        else:
            save_file({"<a>": VECTORS}, whole)
        (tmp_path / name).write_bytes(whole.read_bytes()[:-20])
        with pytest.raises(UserError, match=name):
            read(tmp_path / name)
