"""Words in the files of other tools, and what of such files is refused."""

import math
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vwtransfer.errors import UserError
from vwtransfer.words.cells import Cell
from vwtransfer.words.formats import WRITERS, read, write_a1111, write_diffusers
from vwtransfer.words.store import Word, WordStore

VECTORS = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("form", WRITERS)
def test_what_is_written_is_read_back(tmp_path: Path, form: str) -> None:
    found = read(WRITERS[form](VECTORS, "red_star", tmp_path))
    assert torch.equal(found.vectors_KD, VECTORS)
    assert (found.name, found.task, found.model, found.table) == (
        "red_star",
        "generation",
        None,
        None,
    )


@pytest.mark.parametrize("form", WRITERS)
def test_a_word_of_two_text_encoders_has_a_tensor_for_each(tmp_path: Path, form: str) -> None:
    path = WRITERS[form](VECTORS, "red_star", tmp_path, (3, 5))
    written = load_file(path)
    assert torch.equal(written["clip_l"], VECTORS[:, :3])
    assert torch.equal(written["clip_g"], VECTORS[:, 3:])
    assert torch.equal(read(path).vectors_KD, VECTORS)
    with pytest.raises(UserError, match="no format holds a word of 3 text encoders"):
        WRITERS[form](VECTORS, "red_star", tmp_path, (2, 3, 3))


def test_the_files_are_named_and_laid_out_as_their_tools_expect(tmp_path: Path) -> None:
    diffusers = write_diffusers(VECTORS, "red_star", tmp_path)
    assert diffusers.name == "learned_embeds.safetensors"
    assert list(load_file(diffusers)) == ["<red_star>"]
    a1111 = write_a1111(VECTORS, "red_star", tmp_path)
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
        ({"a": VECTORS[None]}, r"shape \[1, 4, 8\] is not"),
        ({"a": VECTORS * math.nan}, "not the finite vectors"),
    ],
)
def test_what_is_no_word_is_refused(
    tmp_path: Path, content: dict[str, torch.Tensor], line: str
) -> None:
    tensors = {name: tensor.clone() for name, tensor in content.items()}
    save_file(tensors, tmp_path / "word.safetensors")
    with pytest.raises(UserError, match=line):
        read(tmp_path / "word.safetensors")


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
