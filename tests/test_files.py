"""Files are written whole or not at all."""

import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from forked import Forked
from vwtransfer.errors import UserError
from vwtransfer.files import (
    LEFT_BEHIND,
    LONGEST_FOREIGN,
    file_safe,
    is_name,
    keep_inside,
    write_atomically,
    write_json,
    write_once,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read_back_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "text.txt", "wörter\n")
    write_json(tmp_path / "new" / "value.json", {"delta": 0.5})
    assert (tmp_path / "new" / "text.txt").read_text(encoding="utf-8") == "wörter\n"
    assert json.loads((tmp_path / "new" / "value.json").read_text()) == {"delta": 0.5}
    assert names(tmp_path / "new") == ["text.txt", "value.json"]


def test_a_failed_write_leaves_the_former_content(tmp_path: Path) -> None:
    path = tmp_path / "words"
    write_text(path, "former")

    def write_half(temporary: Path) -> None:
        temporary.write_text("ha")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_atomically(path, write_half)
    assert path.read_text() == "former"
    assert names(tmp_path) == ["words"]


def test_a_process_killed_while_writing_leaves_the_former_content(tmp_path: Path) -> None:
    path = tmp_path / "words"
    write_text(path, "former")

    def write_half(temporary: Path) -> None:
        temporary.write_text("ha")
        os.kill(os.getpid(), signal.SIGKILL)

    process = Forked(lambda: write_atomically(path, write_half), tmp_path / "errors")
    assert process.wait() == -signal.SIGKILL
    assert path.read_text() == "former"
    write_text(path, "later")
    assert path.read_text() == "later"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's always full device")
def test_a_full_disk_is_said_in_one_line_and_the_former_content_stands(tmp_path: Path) -> None:
    path = tmp_path / "words"
    write_text(path, "former")

    def write_to_a_full_disk(_: Path) -> None:
        Path("/dev/full").write_text("x" * 10_000)

    with pytest.raises(UserError, match=f"no space left while writing {path}; what was finished"):
        write_atomically(path, write_to_a_full_disk)
    assert path.read_text() == "former"
    assert names(tmp_path) == ["words"]


@pytest.mark.skipif(not Path("/sys/kernel").exists(), reason="needs Linux's /sys, closed to all")
def test_a_folder_that_may_not_be_written_to_is_said_in_one_line() -> None:
    with pytest.raises(UserError, match=r"/sys/kernel/study may not be written to .* outputs="):
        write_text(Path("/sys/kernel/study/words"), "text")


def test_a_file_where_a_folder_should_be_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file")
    with pytest.raises(UserError, match="a part of its path is a file"):
        write_text(tmp_path / "outputs" / "words", "text")


def test_the_temporary_file_is_hidden_and_in_the_same_folder(tmp_path: Path) -> None:
    seen: list[Path] = []

    def write(temporary: Path) -> None:
        seen.append(temporary)
        temporary.touch()

    write_atomically(tmp_path / "words", write)
    assert seen[0].parent == tmp_path
    assert seen[0].name.startswith(".words.")


def test_the_first_of_many_who_write_at_once_stands(tmp_path: Path) -> None:
    folder = tmp_path / "claims"

    def claim(owner: str) -> None:
        won = [write_once(folder / str(i), lambda path: _text(path, owner)) for i in range(200)]
        print(sum(won), file=sys.stderr)

    writers = {name: Forked(partial(claim, name), tmp_path / name) for name in "abc"}
    assert {writer.wait() for writer in writers.values()} == {0}
    owners = [path.read_text() for path in folder.iterdir()]
    assert len(owners) == 200
    assert {name: owners.count(name) for name in "abc"} == {
        name: int(writer.errors) for name, writer in writers.items()
    }


def test_what_is_there_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "word"
    assert write_once(path, lambda temporary: _text(temporary, "first"))
    assert not write_once(path, lambda temporary: _text(temporary, "second"))
    assert path.read_text() == "first"
    assert names(tmp_path) == ["word"]


def _text(path: Path, text: str) -> None:
    path.write_text(text)


def test_a_link_that_was_made_though_it_is_said_to_be_there_is_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Path.hardlink_to

    def twice(self: Path, target: Path) -> None:  # as NFS does where its first answer was lost
        link(self, target)
        link(self, target)

    monkeypatch.setattr(Path, "hardlink_to", twice)
    path = tmp_path / "claim"
    assert write_once(path, Path.touch)
    assert not write_once(path, Path.touch)
    assert [found.name for found in tmp_path.iterdir()] == ["claim"]


def test_a_file_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    former = os.umask(0o002)
    try:
        path = tmp_path / "word.safetensors"
        write_atomically(path, lambda temporary: save_file({"a": torch.ones(1)}, temporary))
    finally:
        os.umask(former)
    assert path.stat().st_mode & 0o777 == 0o664


@pytest.mark.parametrize(
    "text",
    ["../../x", "/etc/x", "..", "", "\0", "<cat-toy>", "[red]", "-rf", "x" * 5000, "字" * 90],
)
def test_any_text_becomes_the_name_of_one_file(text: str) -> None:
    name = file_safe(text)
    assert is_name(name)
    assert len(name.encode()) <= LONGEST_FOREIGN
    assert not is_name(text)


@pytest.mark.parametrize("name", ["cat-toy", "red_star", "a.b+c", "字", "9", "café"])
def test_a_name_stays_as_it_is(name: str) -> None:
    assert is_name(name)
    assert file_safe(name) == name


def test_a_name_too_long_for_the_disk_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"File name too long.* Choose shorter names"):
        write_text(tmp_path / ("n" * 250), "text")


@pytest.mark.parametrize("place", ["figures/a.png", "figures/new/a.png", "a/../../a.png"])
def test_nothing_is_written_out_of_a_study(tmp_path: Path, place: str) -> None:
    study, elsewhere = tmp_path / "study", tmp_path / "elsewhere"
    for folder in (study, elsewhere):
        folder.mkdir()
    (study / "figures").symlink_to(elsewhere)
    keep_inside(study)
    with pytest.raises(UserError, match="outside of"):
        write_text(study / place, "text")
    assert names(elsewhere) == []
    assert names(tmp_path) == ["elsewhere", "study"]


def test_a_study_may_lie_behind_a_link_and_have_links_that_stay_inside(tmp_path: Path) -> None:
    (tmp_path / "disk" / "real").mkdir(parents=True)
    study = tmp_path / "study"
    study.symlink_to(tmp_path / "disk")
    (study / "images").symlink_to("real")
    keep_inside(study)
    write_text(study / "images" / "a", "text")
    assert (tmp_path / "disk" / "real" / "a").read_text() == "text"


def test_a_claimed_study_that_is_deleted_is_not_begun_again(tmp_path: Path) -> None:
    study = tmp_path / "study"
    (study / "identity").mkdir(parents=True)
    keep_inside(study, claimed=True)
    write_text(study / "words" / "a", "text")
    study.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"study was deleted or moved while this process"):
        write_text(study / "words" / "b", "text")
    assert not study.exists()


def test_what_a_killed_process_left_half_written_goes_with_the_next_write(tmp_path: Path) -> None:
    now = time.time()
    ages = {
        ".words.12.0123abcd": 2 * LEFT_BEHIND,
        ".words.13.0123abcd": 60.0,
        ".mine": 2 * LEFT_BEHIND,
        "words.12.0123abcd": 2 * LEFT_BEHIND,
    }
    for name, age in ages.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (now - age, now - age))
    write_text(tmp_path / "words", "text")
    assert names(tmp_path) == sorted([*list(ages)[1:], "words"])
