"""A bundle holds all of a study that can be shared, described for people and for machines."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

import documentation
from composing import compose
from made_up import make_up
from vwtransfer.errors import UserError
from vwtransfer.evaluation.saved_images import saved_images
from vwtransfer.main import dispatch
from vwtransfer.results import DESCRIPTIONS, SCHEMA, read
from vwtransfer.words.cells import cells
from vwtransfer.words.store import Word, WordStore

CHOSEN = ["concept=[red_striped_star,blue_dotted_heart]", "anchor=paired", "delta=null"]


def bundled(folder: Path, *overrides: str) -> None:
    """Makes the bundle of outputs/made in a folder."""
    dispatch(compose([f"outputs={folder}/outputs", "name=made", "action=bundle", *overrides]))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which outputs/made is a study with words and pictures."""
    folder = tmp_path_factory.mktemp("whole")
    config = make_up(folder / "outputs" / "made", *CHOSEN, pictures=True)
    store = WordStore(config.folder / "words")
    torch.manual_seed(0)
    for cell in cells(config):
        store.save(Word(cell, torch.randn(4, 64), "task", "table", "fingerprint", 0.5, 1.0))
    drawn = next((config.folder / "images").rglob("*.png"))
    found = config.folder / "detections" / drawn.relative_to(config.folder / "images")
    found.parent.mkdir(parents=True)
    shutil.copy(drawn, found)
    return folder


@pytest.fixture(scope="module")
def bundle(whole: Path) -> Path:
    bundled(whole, "bundle.license=cc-by-4.0", "bundle.zip=true")
    return whole / "outputs" / "made" / "bundle"


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """The same folder, to be damaged."""
    ignore = shutil.ignore_patterns("bundle*")
    shutil.copytree(whole / "outputs", tmp_path / "outputs", ignore=ignore)
    return tmp_path


def described(bundle: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle / "croissant.json").read_text())
    return found


def test_words_rows_and_pictures_are_those_of_the_study(whole: Path, bundle: Path) -> None:
    study = whole / "outputs" / "made"
    rows = pd.read_parquet(bundle / "results.parquet")
    pd.testing.assert_frame_equal(rows, read(study), check_dtype=False)
    words = pd.read_parquet(bundle / "words.parquet")
    assert len(words) == len(list((study / "words").rglob("*.safetensors"))) == 6
    for word in words.itertuples():
        own = load_file(study / "words" / f"{word.tensor}.safetensors")["vectors"]
        assert torch.equal(load_file(bundle / word.file)[word.tensor], own)
        assert (word.num_vectors, word.width) == own.shape
        assert word.tensor == f"{word.dataset}/{word.model}/{word.concept}/{word.anchor}-inf-0"
    pictures = pd.read_parquet(bundle / "pictures.parquet")
    assert len(pictures) == len(saved_images(study / "images"))
    for picture in pictures.itertuples():
        assert picture.picture["bytes"] == (study / picture.file).read_bytes()


def test_every_file_is_described_by_its_hash_and_every_column_by_what_it_is(bundle: Path) -> None:
    found = described(bundle)
    files = {str(file["@id"]): file["sha256"] for file in found["distribution"]}
    there = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert set(files) == there - {"croissant.json"}
    for name, digest in files.items():
        assert hashlib.sha256((bundle / name).read_bytes()).hexdigest() == digest
    results, words, pictures = found["recordSet"]
    types = {"string": "sc:Text", "double": "sc:Float", "int64": "sc:Integer"}
    wanted = [(each.name, DESCRIPTIONS[each.name], types[str(each.type)]) for each in SCHEMA]
    fields = [
        [(field["name"], field["description"], field["dataType"]) for field in table["field"]]
        for table in (results, words, pictures)
    ]
    assert fields[0] == wanted
    for name, columns in (("words", fields[1]), ("pictures", fields[2])):
        held = list(pd.read_parquet(bundle / f"{name}.parquet").columns)
        assert [column for column, *_ in columns] == held
        assert all(text for _, text, _ in columns)


def test_the_card_has_what_the_hubs_viewer_reads(bundle: Path) -> None:
    _, header, text = (bundle / "README.md").read_text().split("---\n", 2)
    values = yaml.safe_load(header)
    assert values["license"] == "cc-by-4.0"
    assert values["configs"][0] == {
        **{"config_name": "results", "data_files": "results.parquet"},
        "default": True,
    }
    assert all((bundle / each["data_files"]).is_file() for each in values["configs"])
    assert "Transferred by least_squares, words retain" in text
    assert all(f"| `{name}` |" in text for name in DESCRIPTIONS)


LOADED = """
import json, sys
import mlcroissant

def text(value):
    return value.decode() if isinstance(value, bytes) else type(value).__name__

for path in sys.argv[1:]:
    dataset = mlcroissant.Dataset(path)
    names = [each.name for each in dataset.metadata.record_sets]
    print(json.dumps({name: list(dataset.records(name)) for name in names}, default=text))
"""


@pytest.mark.skipif(find_spec("mlcroissant") is None, reason="mlcroissant is not installed")
def test_mlcroissant_validates_it_and_loads_every_record(bundle: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle, damaged)
    (damaged / "words.parquet").write_bytes((bundle / "words.parquet").read_bytes() + b"\0")
    both = [str(path / "croissant.json") for path in (bundle, damaged)]
    # a process of its own: a logging handler of absl, which the library imports, closes the
    # stream that stderr was when Hydra sets up logging; here that is pytest's own file
    (shown,) = documentation.python_blocks("docs/share.md")
    code = shown.replace("outputs/demo/bundle", str(bundle)) + LOADED
    command = [sys.executable, "-W", "ignore", "-c", code, *both]
    loaded = subprocess.run(command, capture_output=True, text=True, check=False)
    (line,) = loaded.stdout.splitlines()
    assert "Hash of downloaded file" in loaded.stderr
    found = json.loads(line)
    for table in ("results", "words", "pictures"):
        wanted = pd.read_parquet(bundle / f"{table}.parquet")
        assert len(found[table]) == len(wanted)
        assert [name.partition("/")[2] for name in found[table][0]] == list(wanted.columns)
        columns = wanted.select_dtypes(["number", "str"]).dropna(axis="columns")
        for record, row in zip(found[table], columns.to_dict("records"), strict=True):
            assert {name: record[f"{table}/{name}"] for name in row} == row
    assert {record["pictures/picture"] for record in found["pictures"]} == {"PngImageFile"}


def test_of_the_same_study_it_is_the_same_to_the_byte(whole: Path, bundle: Path) -> None:
    again = whole / "elsewhere" / "bundle"
    bundled(whole, f"into={again}", "bundle.license=cc-by-4.0", "bundle.zip=true")
    packed = bundle.with_name("bundle.zip")
    assert again.with_name("bundle.zip").read_bytes() == packed.read_bytes()
    with zipfile.ZipFile(io.BytesIO(packed.read_bytes())) as held:
        assert len(held.namelist()) == sum(path.is_file() for path in again.rglob("*"))
        for name in held.namelist():
            assert held.read(name) == (again.parent / name).read_bytes()


def test_photos_of_the_dataset_are_left_out_unless_they_are_asked_for(copy: Path) -> None:
    bundled(copy, "bundle.pictures=[detections]")
    pictures = pd.read_parquet(copy / "outputs/made/bundle/pictures.parquet")
    assert list(pictures["what"]) == ["detections"]


def test_a_study_without_words_and_pictures_is_its_rows(copy: Path) -> None:
    for name in ("words", "images"):
        shutil.rmtree(copy / "outputs" / "made" / name)
    bundled(copy)
    bundle = copy / "outputs" / "made" / "bundle"
    assert sorted(path.name for path in bundle.iterdir()) == [
        *("README.md", "config.yaml", "croissant.json", "results.parquet")
    ]
    assert [table["name"] for table in described(bundle)["recordSet"]] == ["results"]
    assert "license" not in (bundle / "README.md").read_text().partition("# made")[0]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("bundle", r"bundle is there already\. Delete it, or choose another place with into="),
        ("bundle.zip", r"bundle\.zip is there already"),
        ("word", r"zepu-inf-0\.safetensors is not a whole word file"),
        ("picture", r"\.png cannot be read .*action=figures makes it again"),
        ("link", r"is not written: it would lie in .*outside, outside of "),
        ("results", r"made holds no results yet"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(
    copy: Path, damage: str, said: str
) -> None:
    study = copy / "outputs" / "made"
    more = ["bundle.zip=true"]
    if damage.startswith("bundle"):
        (study / damage).write_text("mine")
    elif damage == "word":
        next(study.rglob("*zepu-inf-0.safetensors")).write_bytes(b"cut off")
    elif damage == "picture":
        next((study / "images").rglob("*.png")).write_bytes(b"\x89PNG")
    elif damage == "link":
        (copy / "outside").mkdir()
        (study / "aside").symlink_to(copy / "outside")
        more.append(f"into={study}/aside/bundle")
    else:
        for path in study.rglob("*.parquet"):
            path.unlink()
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=said) as refused:
        bundled(copy, *more)
    assert len(str(refused.value).splitlines()) == 1
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
