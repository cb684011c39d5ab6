"""Writes any dataset out in the layouts that the loaders read.

Images become JPEG files without chroma subsampling. The main use is to try the loaders, and a whole
study on them, where the real datasets are not at hand.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from vwtransfer.datasets import Box, Dataset, Example
from vwtransfer.datasets.boxes import Size
from vwtransfer.files import write_atomically, write_json, write_text

_SPLITS = ("train", "val")


def write_coco(
    dataset: Dataset, root: Path, edition: int = 2017, address: str | None = None
) -> None:
    """COCO's layout; concepts are categories under their names in prompts.

    Args:
        dataset: what is written.
        root: gets train2017/, val2017/ and annotations/.
        edition: 2017 or 2014.
        address: where `root` will be served, for each image's `coco_url`; None: it has none.
    """
    for split in _SPLITS:
        name = f"{split}{edition}"
        examples = {
            f"{number:012}.jpg": each for number, each in enumerate(_examples(dataset, split))
        }
        sizes = {file: _save(each, root / name / file) for file, each in examples.items()}
        stated = instances(examples, sizes, dataset.concepts)
        for image in stated["images"] if address else ():
            image["coco_url"] = f"{address}{name}/{image['file_name']}"
        write_json(root / "annotations" / f"instances_{name}.json", stated)


def write_pascal(dataset: Dataset, root: Path, edition: int = 2012) -> None:
    """PASCAL VOC's layout; concepts are categories."""
    folder = root / "VOCdevkit" / f"VOC{edition}"
    for number, split in enumerate(_SPLITS):
        names = []
        for i, example in enumerate(_examples(dataset, split)):
            names.append(f"{edition - 4 + number}_{i:06}")
            size = _save(example, folder / "JPEGImages" / f"{names[-1]}.jpg")
            labels = {concept: concept for concept in dataset.concepts}
            _save_xml(example, size, labels, folder / "Annotations" / f"{names[-1]}.xml")
        write_text(folder / "ImageSets" / "Main" / f"{split}.txt", "\n".join(names) + "\n")


def write_imagenet(dataset: Dataset, root: Path, wnids: Mapping[str, str]) -> None:
    """The layout of ImageNet's localisation set.

    Args:
        dataset: what is written.
        root: gets ILSVRC/ and LOC_val_solution.csv.
        wnids: concept -> WordNet id.
    """
    folder = root / "ILSVRC"
    data, annotations = folder / "Data" / "CLS-LOC", folder / "Annotations" / "CLS-LOC"
    for i, example in enumerate(_examples(dataset, "train")):
        wnid = wnids[example.concept]
        size = _save(example, data / "train" / wnid / f"{wnid}_{i}.JPEG")
        _save_xml(example, size, wnids, annotations / "train" / wnid / f"{wnid}_{i}.xml")
    lines = ["ImageId,PredictionString"]
    for i, example in enumerate(_examples(dataset, "val")):
        name = f"ILSVRC2012_val_{i + 1:08}"
        size = _save(example, data / "val" / f"{name}.JPEG")
        _save_xml(example, size, wnids, annotations / "val" / f"{name}.xml")
        found = [
            " ".join([wnids[label], *(f"{value:g}" for value in box)])
            for box, label in zip(example.boxes, example.labels, strict=True)
            if label == example.concept
        ]
        lines.append(f"{name},{' '.join(found)} ")
    write_text(root / "LOC_val_solution.csv", "\n".join(lines) + "\n")


def write_dreambooth(dataset: Dataset, root: Path) -> None:
    """DreamBooth's layout, without splits; boxes.json holds the boxes as verified ones."""
    files: dict[str, Example] = {}
    for concept in dataset.concepts:
        for i, example in enumerate([*dataset.training(concept), *dataset.held_out(concept)]):
            files[f"{concept}/{i:02}.jpg"] = example
    sizes = {file: _save(each, root / "dataset" / file) for file, each in files.items()}
    own = {concept: concept for concept in dataset.concepts}
    write_json(root / "boxes.json", instances(files, sizes, own, verified=True))


def instances(
    examples: Mapping[str, Example],
    sizes: Mapping[str, Size],
    names: Mapping[str, str],
    verified: bool | None = None,
) -> dict[str, Any]:
    """COCO's instances JSON.

    Args:
        examples: file name -> what is annotated in it.
        sizes: file name -> (width, height).
        names: concept -> category name, in the order of category ids.
        verified: what each box is marked as; None for no mark.
    """
    mark = {} if verified is None else {"verified": verified}
    concepts = list(names)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i, (file, example) in enumerate(examples.items()):
        width, height = sizes[file]
        images.append({"id": i, "file_name": file, "width": width, "height": height})
        boxes = [(*each, 0) for each in zip(example.boxes, example.labels, strict=True)]
        boxes += [(*each, 1) for each in zip(example.ignored, example.ignored_labels, strict=True)]
        for (x0, y0, x1, y1), label, crowd in boxes:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": concepts.index(label) + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": crowd,
                    **mark,
                }
            )
    categories = [{"id": i, "name": names[each]} for i, each in enumerate(concepts, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _examples(dataset: Dataset, split: str) -> list[Example]:
    choose = dataset.training if split == "train" else dataset.held_out
    return [example for concept in dataset.concepts for example in choose(concept)]


def _save(example: Example, path: Path) -> Size:
    image = example.load()
    write_atomically(path, partial(image.save, format="JPEG", quality=95, subsampling=0))
    return image.size


def _save_xml(example: Example, size: Size, names: Mapping[str, str], path: Path) -> None:
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = path.stem
    element = ElementTree.SubElement(root, "size")
    for name, value in zip(("width", "height", "depth"), (*size, 3), strict=True):
        ElementTree.SubElement(element, name).text = str(value)
    for box, label in zip(example.boxes, example.labels, strict=True):
        _add_object(root, names[label], box, difficult=False)
    for box, label in zip(example.ignored, example.ignored_labels, strict=True):
        _add_object(root, names[label], box, difficult=True)
    ElementTree.indent(root)
    write_text(path, ElementTree.tostring(root, encoding="unicode"))


def _add_object(root: ElementTree.Element, name: str, box: Box, difficult: bool) -> None:
    element = ElementTree.SubElement(root, "object")
    ElementTree.SubElement(element, "name").text = name
    ElementTree.SubElement(element, "difficult").text = str(int(difficult))
    bounds = ElementTree.SubElement(element, "bndbox")
    corners = (box[0] + 1, box[1] + 1, box[2], box[3])  # counted from 1, the last one included
    for side, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
        ElementTree.SubElement(bounds, side).text = repr(value)
