"""What a study shows once words of a first model are trained: one of them, before and after."""

from dataclasses import dataclass

import torch
from rich.console import Console

from vwtransfer import results
from vwtransfer.analysis.photo_sheets import PER_LINE, Row, draw_sheet, photos_of
from vwtransfer.analysis.word_pictures import Measuring, pictures_of
from vwtransfer.datasets import Dataset
from vwtransfer.evaluation.evaluator import load_beside
from vwtransfer.evaluation.specs import NO_TRANSFER, EvalSpec
from vwtransfer.models import Model
from vwtransfer.results.schema import WORD
from vwtransfer.results.summary import HEADLINES, panels
from vwtransfer.study import Study, data_loading, measure_words, measured
from vwtransfer.words.cells import Cell

SHEET = "first_word.png"


@dataclass
class FirstWord:
    """Measures a model's own words when they are trained, and says of the first what it reached."""

    study: Study
    console: Console
    shown: bool = False

    def __call__(self, dataset: Dataset, model: Model) -> None:
        """To be called when a model's words of a dataset are trained."""
        study, folder = self.study, self.study.config.folder
        task = study.tasks[model.task]
        if not data_loading.measures(task, dataset):
            return
        here = dataset.name, model.name, NO_TRANSFER

        def own(spec: EvalSpec) -> bool:
            return (spec.dataset, spec.target_model, spec.transfer) == here

        measure_words(study, measured(folder), folder, own)
        mine = (c for c in study.cells if (c.dataset, c.model) == here[:2] and c in study.store)
        if self.shown or (cell := next(mine, None)) is None:
            return
        rows = list(_rows(Measuring(model, task, study.datasets), study, cell))
        if any(row.tiles for row in rows):
            photos = photos_of(dataset, cell.concept).tiles[:PER_LINE]
            title = f"photos of {dataset.concepts[cell.concept]}"
            draw_sheet([Row(title, photos), *rows], folder / SHEET)
            self.console.print(
                f"{_reached(study, cell)}; picture: {folder / SHEET}", soft_wrap=True
            )
            self.shown = True


def _rows(measuring: Measuring, study: Study, cell: Cell) -> list[Row]:
    """What the model makes of the anchor and of the word."""
    text = measuring.model.text
    word_KD = load_beside(study.store, cell, text).vectors_KD
    with torch.no_grad():
        anchor_1D = text.anchor_rows([cell.anchor])[:1].to(word_KD)
    made = []
    for vectors_KD, what in ((anchor_1D, "before"), (word_KD, "after")):
        measured = measuring.measure(
            [(EvalSpec.of_word(cell, cell.model, NO_TRANSFER), vectors_KD)]
        )
        tiles = [("", picture) for picture in pictures_of(measured[0])[:PER_LINE]]
        named = cell.anchor if what == "before" else f"<{cell.concept}>"
        title = f"{what} training: {measuring.model.prompt_template.format(named)} ({cell.model})"
        made.append(Row(title, tiles))
    return made


def _reached(study: Study, cell: Cell) -> str:
    """What the word and its anchor reach in its own model."""
    frame = results.read(study.config.folder)
    mine = frame[(frame["target_model"] == cell.model) & (frame["dataset"] == cell.dataset)]
    mine = mine[(mine["concept"] == cell.concept) & (mine["anchor"] == cell.anchor)]
    mine = mine[mine["transfer"] == NO_TRANSFER]
    mine = mine[(mine["kind"] != WORD) | (mine["delta"] == cell.delta)]
    _, metric = panels(mine)[0]  # accuracy, where that is measured
    values = mine[mine["metric"] == metric].groupby("kind", observed=True)["value"].mean()
    before = (
        f"{values['anchor']:.2f} by its anchor, {cell.anchor}, and " if "anchor" in values else ""
    )
    return (
        f"a first word, {cell.concept} of {cell.model}: {HEADLINES.get(metric, metric)} is {before}"
        f"{values['word']:.2f} by the trained word"
    )
