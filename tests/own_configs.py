"""A person's own config folder and modules, as `--config-dir` and the current folder bring them."""

import copy
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

_MODULE = '''
class ImageFileDataset:
    """Names a dataset; nothing here looks at its images."""
'''
_DATASET = """\
# @package dataset.{name}
_target_: photos.ImageFileDataset
name: {name}
concepts: {{{concepts}}}
anchors: [{anchors}]
training_images: 8
held_out_images: 20
seed: 0
own_modules: {modules}
"""
OVERRIDES = ["dataset=garden"]


def write_own_configs(folder: Path) -> Path:
    """Writes photos.py into `folder` and two datasets into its conf/, which is returned."""
    (folder / "photos.py").write_text(_MODULE)
    datasets = folder / "conf" / "dataset"
    datasets.mkdir(parents=True)
    for name, concepts, anchors in (
        ("garden", "red_rose: red rose, tall_tree: tall tree, fern: fern", "cat, boot, harp"),
        ("street", "old_car: old car, red_rose: red rose", "cup, boot"),
    ):
        text = _DATASET.format(name=name, concepts=concepts, anchors=anchors, modules=folder)
        (datasets / f"{name}.yaml").write_text(text)
    return folder / "conf"


def changed(config: DictConfig, **values: Any) -> DictConfig:
    """A copy with other values; in a key two underscores stand for the dot."""
    other = copy.deepcopy(config)
    with open_dict(other):
        for key, value in values.items():
            OmegaConf.update(other, key.replace("__", "."), value, merge=False)
    return other
