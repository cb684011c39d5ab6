"""The words that can be converted, and what is written beside each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vwtransfer import __version__
from vwtransfer.config import Config
from vwtransfer.conversion.converter import Converter
from vwtransfer.conversion.inputs import Input
from vwtransfer.conversion.outputs import THERE, Place, Row, places, remark
from vwtransfer.errors import UserError
from vwtransfer.models import Model
from vwtransfer.words.formats import LoadedWord

USUAL = "a1111"  # what ComfyUI, AUTOMATIC1111 and SD.Next read, and diffusers too
OF_WIDTH = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "SDXL"}


@dataclass
class Job:
    """A word that is to be converted.

    Attributes:
        row: of the table.
        word: itself.
        place: where it goes.
        provenance: what is written beside it.
        converted_KD: its vectors in the target's space, once they are there.
    """

    row: Row
    word: LoadedWord
    place: Place
    provenance: dict[str, Any]
    converted_KD: Tensor | None = None

    def finish(self, vectors_KD: Tensor, signals: Mapping[str, Any], state: str) -> None:
        """Notes that the converted word is there."""
        self.converted_KD = vectors_KD
        self.row.vectors_out = len(vectors_KD)
        self.row.agreement = signals.get("agreement", "")
        self.row.shared = signals.get("shared", "")
        self.row.output = str(self.place.path)
        self.row.state = state


def jobs(
    config: Config,
    converter: Converter,
    models: tuple[Model, Model],
    words: Sequence[tuple[Row, Input, LoadedWord, bool]],
) -> list[Job]:
    """The words that can be converted, or are there already; of others their rows say why not."""
    source, target = models
    form = config.format or USUAL
    chosen = places(
        [(given, word, several) for _, given, word, several in words],
        target.name,
        config.into,
        form,
    )
    shared = {
        "model": target.name,
        "task": target.task,
        "table": target.text.identity,
        "source_model": source.name,
        "source_table": source.text.identity,
        "checkpoint": config.model.models[target.name].get("checkpoint"),
        "source_checkpoint": config.model.models[source.name].get("checkpoint"),
        "conversion": converter.identity,
        "transfer": dict(config.transfer.node),
        "version": __version__,
    }
    found = []
    for (row, given, word, _), place in zip(words, chosen, strict=True):
        try:
            _check_source(word, source, target)
            row.prompt = converter.template_for(len(word.vectors_KD))
            provenance = {
                **shared,
                "source_file": given.file.name,
                "source_sha256": given.digest,
                "word": word.name,
                "prompt": row.prompt,
            }
            there = place.holds(provenance)
        except UserError as error:
            row.note = str(error)
            continue
        row.note = remark(word, f"{given.shown} {word.name}")
        job = Job(row, word, place, provenance)
        if there is not None:
            job.finish(there.vectors_KD, there.provenance or {}, THERE)
        found.append(job)
    return found


def _check_source(word: LoadedWord, source: Model, target: Model) -> None:
    """Refuses a word that is none of the source's."""
    if word.table is not None and word.table != source.text.identity:
        if word.table == target.text.identity:
            raise UserError(f"is a word of {target.name} already")
        raise UserError(
            f"was trained in {word.model} beside the embedding table {word.table}; that of "
            f"{source.name} is {source.text.identity}"
        )
    width, own = word.vectors_KD.shape[1], source.text.width
    if width != own:
        guess = f", as those of {OF_WIDTH[width]}" if width in OF_WIDTH else ""
        raise UserError(
            f"its vectors have width {width}{guess}, and {source.name} reads {own}: name its own "
            "model with source="
        )
