"""`experiment=photos`: from a folder of photos to a picture and a file for another tool."""

import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from safetensors.torch import load_file

from command_line import Finished, vwtransfer
from drawn import photos
from vwtransfer.actions.run import run
from vwtransfer.config.composition import compose
from vwtransfer.config.photo_folders import anchors_for, concepts_in
from vwtransfer.datasets.export import write_dreambooth
from vwtransfer.errors import UserError
from vwtransfer.models.suite import build_part
from vwtransfer.tinyworld.lexicon import words

QUICK = [
    "model=tiny",
    "model.generation.training.steps=2",
    "model.generation.denoising_steps=2",
    "model.generation.images_per_word=1",
    "model.fidelity_prompts=['a photo of {} on snow','a photo of {} on sand']",
    "model.detection.training.steps=2",
    "progress=false",
    "report=false",
    "threads=1",
    "wandb=off",
]
ALONE = ["task=generation", "direction=none", "evaluation.metrics=[clip_i]"]
PHOTOS = ["experiment=photos", "dataset.folder.root=my photos", *QUICK]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a person has photos of two things, with boxes; one file of them is cut off."""
    folder = tmp_path_factory.mktemp("person")
    node = compose(["dataset=tiny_shapes"]).dataset["tiny_shapes"].node
    concepts = {"star": "red striped star", "heart": "red striped heart"}
    shapes = {f"red_striped_{name}": text for name, text in concepts.items()}
    sizes = {"training_images": 3, "held_out_images": 1}
    few = {"concepts": shapes, "anchors": node["anchors"][:2], **sizes}
    write_dreambooth(build_part({**node, **few}, "dataset.tiny_shapes"), folder)
    shutil.move(folder / "dataset", folder / "my photos")
    (folder / "my photos/red_striped_star/cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    return folder


@pytest.fixture(scope="module")
def finished(place: Path) -> Finished:
    keys = ["dataset.folder.boxes=boxes.json", "dataset.folder.anchors=[heart,star]"]
    return vwtransfer(place, *PHOTOS, *keys, "task=[generation,detection]")


def test_all_that_is_left_out_stands_in_one_table(finished: Finished) -> None:
    assert finished.returncode == 0, finished.stderr
    head, _, rest = finished.stdout.partition("train ")
    table = " ".join(head.split())
    assert re.search(r"dataset left out why .* red_striped_star/cut.jpg damaged image", table)
    assert "cut.jpg" not in rest + finished.stderr


def test_similarities_are_rows_beside_the_accuracy_and_have_intervals(
    finished: Finished, place: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    frame = pd.read_parquet(place / "outputs/photos/results.parquet")
    drawn = frame[(frame.target_model == "tiny_sd") & (frame.kind != "chance")]
    assert set(drawn.metric) == {"generation_accuracy", "clip_i", "clip_t"}
    assert drawn.groupby(["kind", "metric"]).size().tolist() == [2] * 6
    assert drawn.value.between(-1, 1).all()
    assert drawn.set_index("metric").num_images.to_dict()["clip_t"] == 2
    summary = (place / "outputs/photos/summary.txt").read_text()
    assert re.search(r"CLIP-I +CLIP-T", summary)
    assert len(re.findall(r"-?\d\.\d\d \[-?\d\.\d\d, -?\d\.\d\d\]", summary)) >= 6


def test_it_ends_with_a_picture_of_photos_generations_and_boxes(
    finished: Finished, place: Path
) -> None:
    shown = [line.partition("picture: ") for line in finished.stdout.splitlines()]
    first, *_ = [place / path for said, _, path in shown if said and path]
    assert first.is_file()  # of a first word, while the others train
    sheets = [place / path for said, _, path in shown if path and not said]
    assert [path.stem for path in sheets] == ["red_striped_heart", "red_striped_star"]
    for path in sheets:
        with Image.open(path) as sheet:
            # a line each of photos, the anchor, the word, further prompts, and boxes
            assert sheet.height == 8 + 5 * (200 + 18 + 24 + 8)
            colours = {colour for _, colour in sheet.convert("RGB").getcolors(1 << 24) or ()}
            assert (220, 30, 60) in colours  # of a box


def test_the_line_that_it_prints_exports_the_word(finished: Finished, place: Path) -> None:
    lines = [line for line in finished.stdout.splitlines() if "action=export" in line]
    assert len(lines) == 2
    exported = vwtransfer(place, *shlex.split(lines[0])[1:])
    assert exported.returncode == 0, exported.stderr
    (path,) = (place / "outputs/photos/exported").rglob("learned_embeds.safetensors")
    (vectors_KD,) = load_file(path).values()
    assert vectors_KD.shape == (4, 96)
    lines = [line for line in finished.stdout.splitlines() if "action=apply" in line]
    assert [line.endswith(" target=tiny_owlv2 images=FOLDER") for line in lines] == [True] * 2


def test_an_anchor_is_asked_for_where_the_folder_names_none(tmp_path: Path) -> None:
    photos(tmp_path, {"red": 2})
    for name in ("zupfel", "my_photos"):
        shutil.copytree(tmp_path / "red", tmp_path / name / name)
    with pytest.raises(
        UserError, match=r"anchors=\[dog,mug\]' anchor=paired \(of dog, red_mug, in"
    ):
        anchors_for({"dog": "dog", "red_mug": "red mug"}, "paired")
    with pytest.raises(UserError, match="'my photos' says nothing of what is shown"):
        anchors_for(concepts_in(tmp_path / "my_photos"), "paired")
    assert concepts_in(tmp_path / "my_photos", "mug") == {"my_photos": "mug"}
    refused = vwtransfer(tmp_path, "experiment=photos", "dataset.folder.root=zupfel", *QUICK)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "not one token of model.tiny_sd, which reads zu p f e l</w>" in line
    (near,) = re.findall(r"near in spelling or embedding: ([^)]*)\)", line)
    assert set(near.split(", ")) <= set(words())


def test_of_one_thing_alone_the_first_word_is_shown_by_its_similarity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos(tmp_path, {"red": 2})
    chosen = [f"dataset.folder.root={tmp_path / 'red'}", "anchor=star", "evaluation.baselines=[]"]
    run(compose(["dataset=folder", *QUICK, *chosen, *ALONE, f"outputs={tmp_path}"]))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "a first word" in line]
    assert re.search(r"red of tiny_sd: CLIP-I is \d\.\d\d by the trained word; picture: ", line)
