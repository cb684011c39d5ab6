"""Boxes that a detector proposed, as COCO JSON in which a person verifies each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vwtransfer.datasets import Box
from vwtransfer.datasets.boxes import Size
from vwtransfer.datasets.coco_json import read_instances
from vwtransfer.files import write_json


@dataclass(frozen=True)
class Proposal:
    """A box for an image.

    Attributes:
        file: path of the image in the dataset's folder.
        size: (width, height) of the upright image.
        concept: what the box should hold.
        box: in pixels of the upright image.
        score: the detector's, 0 to 1.
    """

    file: str
    size: Size
    concept: str
    box: Box
    score: float


def listed(path: Path) -> set[str]:
    """The images that a file of boxes names already, with or without boxes.

    Raises:
        UserError: the file cannot be read.
    """
    return set(read_instances(path).images) if path.exists() else set()


def add_proposals(path: Path, proposals: Sequence[Proposal]) -> None:
    """Adds boxes marked `"verified": false`; what stands in the file stays as it is.

    Raises:
        UserError: the file cannot be read or written.
    """
    top: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    if path.exists():
        read_instances(path)  # refuses what is not COCO's format
        top = json.loads(path.read_bytes())
    categories = {each["name"]: each["id"] for each in top["categories"]}
    for proposal in proposals:
        if proposal.concept not in categories:
            categories[proposal.concept] = _next_id(top["categories"])
            top["categories"].append({"id": categories[proposal.concept], "name": proposal.concept})
        width, height = proposal.size
        image = {"id": _next_id(top["images"]), "file_name": proposal.file}
        top["images"].append({**image, "width": width, "height": height})
        x0, y0, x1, y1 = (round(value, 1) for value in proposal.box)
        top["annotations"].append(
            {
                "id": _next_id(top["annotations"]),
                "image_id": image["id"],
                "category_id": categories[proposal.concept],
                "bbox": [x0, y0, round(x1 - x0, 1), round(y1 - y0, 1)],
                "area": round((x1 - x0) * (y1 - y0), 1),
                "iscrowd": 0,
                "score": round(proposal.score, 3),
                "verified": False,
            }
        )
    write_json(path, top)


def _next_id(entries: Sequence[dict[str, Any]]) -> int:
    return max((each["id"] for each in entries if isinstance(each.get("id"), int)), default=0) + 1
