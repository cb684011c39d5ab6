"""action=propose_boxes: a detector proposes boxes for photos without any, for a person to verify.

The paper's authors did so for DreamBooth: OWL-v2, prompted with the subject's name, and a look at
every box (appendix D).
"""

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from vwtransfer.actions.transfer_word import chosen_model
from vwtransfer.config import Config, DatasetConfig
from vwtransfer.datasets import Dataset, Example
from vwtransfer.datasets.boxes import fitted
from vwtransfer.datasets.coco_json import read_instances
from vwtransfer.datasets.contact_sheet import Panel, draw_contact_sheet
from vwtransfer.datasets.matching import photos_named
from vwtransfer.datasets.proposals import Proposal, add_proposals, listed
from vwtransfer.errors import UserError
from vwtransfer.models.devices import torch_device, use_threads
from vwtransfer.models.suite import build, build_part
from vwtransfer.progress import terminal


def run(config: Config) -> None:
    """Writes the file that `dataset.NAME.boxes` names, and a sheet of all boxes beside it.

    Each image that the file does not name yet gets the best box for its concept's name; what
    stands in the file is kept.

    The detector is the one that `target` names, or the only one.

    Raises:
        UserError: no dataset takes such a file, or the models have no detector.
    """
    chosen = [dataset for dataset in config.dataset.values() if "boxes" in dataset.node]
    if not chosen:
        raise UserError(
            "action=propose_boxes: the chosen datasets have boxes of their own. Choose "
            "dataset=dreambooth or dataset=folder."
        )
    detectors = config.model.of_task("detection")
    if not detectors:
        raise UserError(
            "action=propose_boxes: needs a detector. Choose one with model/detection=NAME."
        )
    name = chosen_model(config, "target", detectors, detectors)
    use_threads(config.threads)
    detector: Any = build(config, torch_device(config.device)).models[name]
    console = terminal()
    for dataset in chosen:
        console.print(_propose(dataset, detector), soft_wrap=True, highlight=False)


def _propose(config: DatasetConfig, detector: Any) -> str:
    """Completes one dataset's file; returns what there is to say."""
    key = f"dataset.{config.name}"
    if config.node["boxes"] is None:
        raise UserError(f"{key}.boxes=null: say where the boxes are to be written.")
    path = Path(config.node["boxes"]).expanduser()
    dataset: Dataset = build_part({**config.node, "boxes": None, "manifest": None}, key)
    examples = [
        example
        for concept in config.concepts
        for example in [*dataset.training(concept), *dataset.held_out(concept)]
    ]
    ids = [example.id for example in examples]
    known = photos_named(listed(path), ids)
    found = []
    for concept, name in config.concepts.items():
        waiting = [each for each in examples if each.concept == concept and each.id not in known]
        found += proposals(waiting, detector, detector.prompt_template.format(name))
    add_proposals(path, found)
    sheet = path.with_suffix(".png")
    annotated = read_instances(path).images
    named = photos_named(annotated, ids)
    panels = [Panel(each.id, each.load(), annotated[named[each.id]].objects) for each in examples]
    draw_contact_sheet(panels, sheet)
    waiting_boxes = sum(not each.verified for panel in panels for each in panel.objects)
    return (
        f"{config.name}: {len(found)} boxes proposed in {path}, where {waiting_boxes} wait to be "
        f'verified. Look at {sheet}; correct what is wrong, and set "verified" to true.'
    )


def proposals(examples: list[Example], detector: Any, prompt: str) -> list[Proposal]:
    """The best box for `prompt` in each image; none where it lies outside the image."""
    if not examples:
        return []
    encoded = detector.text.encode_text([prompt])
    boxes_NMT4, scores_NMT = detector.detect(encoded, detector.encode_images(examples))
    found = []
    for example, box_T4, score_T in zip(examples, boxes_NMT4[0], scores_NMT[0], strict=True):
        image = example.load()
        box = _cut(box_T4[0], image)
        found.append(Proposal(example.id, image.size, example.concept, box, float(score_T[0])))
    return found


def _cut(box_4: torch.Tensor, image: Image.Image) -> tuple[float, float, float, float]:
    """The part of a box inside the image; the whole image where there is none."""
    x0, y0, x1, y1 = box_4.tolist()
    width, height = image.size
    inside = (max(0.0, x0), max(0.0, y0), min(float(width), x1), min(float(height), y1))
    whole = (0.0, 0.0, float(width), float(height))
    return fitted(inside if inside[0] < inside[2] and inside[1] < inside[3] else whole, image.size)
