"""Where converted words go, what is written beside their vectors, and the table of them."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from vwtransfer.conversion.inputs import RECORD, Input
from vwtransfer.errors import UserError
from vwtransfer.files import write_once, write_text
from vwtransfer.words.formats import FORMS, LoadedWord, read, write

CONVERTED, THERE, FAILED = "converted", "there already", "not converted"
MEASURED_VECTORS = 8  # of words whose conversion was measured, at most (docs/convert.md)
NEGATIVE = ("neg", "bad", "worst", "ugly", "deform")


@dataclass
class Row:
    """What became of a word, or of a file that cannot be read.

    Attributes:
        file: its file, below the folder that was named.
        word: what it is called.
        vectors_in, vectors_out: how many there were, and are.
        prompt: in which the two models were compared.
        agreement: cosine of what the target reads and what it was to read, a mean.
        shared: share of the phrases that it is read like that are the same before and after.
        output: file of the converted word.
        state: CONVERTED, THERE or FAILED.
        note: why not, or what is to be said.
    """

    file: str
    word: str = ""
    vectors_in: int | str = ""
    vectors_out: int | str = ""
    prompt: str = ""
    agreement: float | str = ""
    shared: float | str = ""
    output: str = ""
    state: str = FAILED
    note: str = ""


COLUMNS = tuple(field.name for field in fields(Row))


@dataclass(frozen=True)
class Place:
    """Where a word is written.

    Attributes:
        folder: of all that is written of an input's root.
        name: what the word is called, below it.
        form: "a1111" or "diffusers".
    """

    folder: Path
    name: Path
    form: str

    @property
    def below(self) -> Path:
        """The folder of the word's file."""
        return self.folder / (self.name.parent if self.form == "a1111" else self.name)

    @property
    def path(self) -> Path:
        """The word's file."""
        return self.below / FORMS[self.form][0].format(self.name.name)

    def write(
        self, vectors_KD: Tensor, widths: Mapping[str, int], provenance: Mapping[str, Any]
    ) -> bool:
        """Writes a word; False: another process wrote one there first, which stands."""
        placed: list[bool] = []
        write(
            self.form,
            vectors_KD,
            self.name.name,
            self.below,
            widths,
            provenance,
            lambda path, save: placed.append(write_once(path, save)),
        )
        return placed[0]

    def holds(self, provenance: Mapping[str, Any]) -> LoadedWord | None:
        """The word that is there; None where there is no file.

        Raises:
            UserError: the file there is of something else, and stands.
        """
        if not self.path.exists():
            return None
        other = UserError(f"{self.path} is there already, and is not written over")
        try:
            word = read(self.path)
        except UserError as error:
            raise other from error
        made = ("source_sha256", "word", "conversion")
        told = word.provenance or {}
        if any(told.get(key) != provenance[key] for key in made):
            raise other
        return word


def places(
    words: Sequence[tuple[Input, LoadedWord, bool]], target: str, into: Path | None, form: str
) -> list[Place]:
    """Where each word goes; no two to the same file.

    Args:
        words: with their files, and whether a file holds several.
        target: the target model's name.
        into: folder for all of them; None: one named after the target in each input's root.
        form: "a1111" or "diffusers".
    """
    taken: set[Path] = set()
    chosen = []
    for given, word, several in words:
        stem = given.stem
        if several:
            stem = stem.with_name(f"{stem.name}-{word.name}")
        place = Place(into or given.root / target, stem, form)
        number = 1
        while place.path in taken:
            ending = given.file.suffix[1:] if number == 1 else f"{given.file.suffix[1:]}_{number}"
            place = Place(place.folder, stem.with_name(f"{stem.name}_{ending}"), form)
            number += 1
        taken.add(place.path)
        chosen.append(place)
    return chosen


def remark(word: LoadedWord, name: str) -> str:
    """What is to be said of a word that is converted all the same."""
    count = len(word.vectors_KD)
    if any(part in name.lower() for part in NEGATIVE):
        return "unverified: by its name a word for negative prompts; none was measured"
    if count > MEASURED_VECTORS:
        return f"unverified: {count} vectors, as words for negative prompts have; none was measured"
    return ""


def write_table(rows: Sequence[Row], folder: Path) -> Path:
    """Writes converted.csv."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: getattr(row, name) for name in COLUMNS} for row in rows)
    path = folder / RECORD
    write_text(path, text.getvalue())
    return path
