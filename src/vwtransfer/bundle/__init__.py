"""action=bundle: a study as one folder that can be put on the hub as a dataset; docs/share.md.

    README.md              the dataset card: what came out, and what each column is
    croissant.json         the same for machines: files with hashes, tables with their columns
    config.yaml            the composed config
    results.parquet        what was measured, `results.SCHEMA`
    words.parquet          a row for each word: what is known of it beside its vectors
    words/MODEL.safetensors    the vectors, under the names that words.parquet gives
    pictures.parquet       what models drew of words, where there is any, with what each is of

Of the same study and the same library versions it is the same to the byte.
"""

import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from vwtransfer.bundle.card import card
from vwtransfer.bundle.croissant import Table, croissant
from vwtransfer.bundle.tables import PICTURES, WORDS, write_pictures, write_words
from vwtransfer.config import Config
from vwtransfer.errors import UserError
from vwtransfer.files import (
    check_place,
    explained,
    keep_inside,
    put_in_place,
    write_json,
    write_text,
)
from vwtransfer.progress import terminal
from vwtransfer.report.study_reader import read_study
from vwtransfer.results import DESCRIPTIONS, IDENTITY, write_frame

EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file in a .zip, whose bytes are then those of the files


def run(config: Config) -> None:
    """Writes the bundle of the study in outputs/name.

    Raises:
        UserError: there are no results, the place is taken, or a word or picture is damaged.
    """
    path = config.into or config.folder / "bundle"
    packed = path.with_name(f"{path.name}.zip")
    for taken in (path, packed)[: 1 + config.bundle.zip]:
        if taken.exists() or taken.is_symlink():
            raise UserError(
                f"{taken} is there already. Delete it, or choose another place with into=FOLDER."
            )
    keep_inside(config.folder)
    _whole(path, lambda folder: _fill(folder, config))
    if config.bundle.zip:
        _whole(packed, lambda place: _pack(path, place))
    size = sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    console = terminal()
    console.print(f"bundle: {path} ({size / 1e6:.1f} MB)", soft_wrap=True)
    console.print(
        "Before you share it: config.yaml names folders, and the tables machines; README.md says "
        + (
            "no license yet (bundle.license=...)."
            if config.bundle.license is None
            else "what it is."
        )
    )


def _fill(folder: Path, config: Config) -> None:
    study = read_study(config.folder)
    folder.mkdir()
    if study.config is not None:
        shutil.copyfile(config.folder / "config.yaml", folder / "config.yaml")
    write_frame(study.frame, folder / "results.parquet")
    tables = [Table("results", "what was measured", DESCRIPTIONS, tuple(IDENTITY))]
    if write_words(config.folder / "words", folder):
        about = "the words: what is known of each beside its vectors"
        tables.append(Table("words", about, WORDS, ("file", "tensor")))
    if write_pictures(config.folder, config.bundle.pictures, folder / "pictures.parquet"):
        about = "what models drew of words"
        tables.append(Table("pictures", about, PICTURES, ("file",)))
    write_text(folder / "README.md", card(study, tables, config.bundle.license))
    described = croissant(study, folder, tables, config.bundle.license)
    write_json(folder / "croissant.json", described)


def _pack(folder: Path, path: Path) -> None:
    """All of a folder in a .zip, under the folder's name."""
    with zipfile.ZipFile(path, "w") as packed:
        for each in sorted(folder.rglob("*")):
            if each.is_file():
                name = each.relative_to(folder.parent).as_posix()
                about = zipfile.ZipInfo(name, EPOCH)
                about.external_attr = 0o644 << 16
                with each.open("rb") as source, packed.open(about, "w", force_zip64=True) as place:
                    shutil.copyfileobj(source, place)


def _whole(path: Path, write: Callable[[Path], None]) -> None:
    """Has `write` make a file or folder beside `path`, which is given its name once it is whole."""
    check_place(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as beside:
            write(Path(beside) / path.name)
            put_in_place(Path(beside) / path.name, path)
    except OSError as error:
        if mendable := explained(error, path):
            raise mendable from error
        raise
