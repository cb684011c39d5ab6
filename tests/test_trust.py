"""What comes from strangers is read, never run: a study's folder, a word, the current folder."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from composing import compose
from made_up import make_up
from vwtransfer.actions.export import export
from vwtransfer.cluster.archive import pack
from vwtransfer.cluster.status import status
from vwtransfer.datasets.manifest import FORMAT, Manifest, write_manifest
from vwtransfer.main import main
from vwtransfer.report import write_report
from vwtransfer.words.cells import cells
from vwtransfer.words.store import Word

MANIFEST = "outputs/w/manifests/tiny_shapes.json"
TRAP = "import pathlib\npathlib.Path('sprung').touch()\n"


@pytest.fixture
def trapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a package that leaves a file behind when it is imported."""
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "__init__.py").write_text(TRAP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "hunter2")
    return tmp_path


def laid(path: Path, **changes: object) -> None:
    """Puts other values into a saved config."""
    path.parent.mkdir(exist_ok=True)
    values = yaml.safe_load(path.read_text()) if path.exists() else {}
    path.write_text(yaml.safe_dump({**values, **changes}))


@pytest.mark.parametrize("text", ["${package:evil.x}", "${oc.env:SECRET}"])
def test_a_saved_config_resolves_nothing(trapped: Path, text: str) -> None:
    config = make_up(trapped / "outputs" / "made-up", "concept=[red_striped_star]", "anchor=paired")
    saved = yaml.safe_load((config.folder / "config.yaml").read_text())
    saved["model"]["name"] = text
    (config.folder / "config.yaml").write_text(yaml.safe_dump(saved))
    laid(config.folder / "cluster" / "config.yaml", **saved)
    page = write_report(config.folder).read_text(encoding="utf-8")
    with pytest.raises(Exception, match=r"model\.name") as refusal:
        status(config)
    assert "hunter2" not in page + str(refusal.value)
    assert not (trapped / "sprung").exists()


def test_no_class_of_a_saved_config_is_imported(
    trapped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_up(trapped / "outputs" / "w", "concept=[red_striped_star]", "anchor=paired")
    (cell,) = (each for each in cells(config) if each.model == "tiny_clip")
    word = Word(cell, torch.ones(4, 96), "classification", "t", "f", loss=0.0, seconds=0.0)
    pack([word], trapped / "kept" / "w" / "tiny_clip.safetensors")
    write_manifest(Manifest(FORMAT, "tiny_shapes", {}, (), (), ()), trapped / MANIFEST)
    saved = yaml.safe_load((config.folder / "config.yaml").read_text())
    saved["model"]["tiny_clip"]["_target_"] = "evil.Clip"
    (config.folder / "cluster").mkdir()
    text = yaml.safe_dump(saved, sort_keys=False)
    (config.folder / "cluster" / "config.yaml").write_text(text)
    monkeypatch.syspath_prepend(trapped)
    status(config)
    assert not (trapped / "sprung").exists()


def test_a_file_of_the_current_folder_takes_no_librarys_place(tmp_path: Path) -> None:
    (tmp_path / "hydra_plugins").mkdir()
    # numexpr and plugins are looked for, and need not be there
    for name in ("pandas", "yaml", "hydra", "numexpr", "hydra_plugins/evil"):
        (tmp_path / f"{name}.py").write_text(TRAP)
    command = [sys.executable, "-m", "vwtransfer", "action=report", "name=nowhere"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert not (tmp_path / "sprung").exists()


def test_nor_does_it_in_a_process_that_is_started_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "argparse.py").write_text(TRAP)
    monkeypatch.chdir(tmp_path)
    for name in ("PYTHONSAFEPATH", "HYDRA_FULL_ERROR"):
        monkeypatch.setenv(name, "")  # put back at the end
    monkeypatch.setattr(sys, "argv", ["vwtransfer", "action=report", "name=nowhere"])
    with pytest.raises(SystemExit):
        main()
    subprocess.run([sys.executable, "-m", "json.tool", "--help"], check=True, capture_output=True)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("concept", ["../../outside", "/tmp/outside", "x" * 5000])
def test_a_words_name_is_no_path(tmp_path: Path, concept: str) -> None:
    metadata = {"dataset": "d", "model": "tiny_sd", "task": "generation", "concept": concept}
    metadata |= {"anchor": "zepu", "delta": "inf", "seed": "0", "table": "6848e8b808d0bd9b"}
    metadata |= {"fingerprint": "f", "loss": "0", "seconds": "0"}
    save_file({"vectors": torch.ones(2, 96)}, tmp_path / "word.safetensors", metadata)
    config = compose([f"word={tmp_path / 'word.safetensors'}", f"outputs={tmp_path / 'outputs'}"])
    export(config)
    (written,) = tmp_path.rglob("learned_embeds.safetensors")
    assert written.is_relative_to(config.folder)
