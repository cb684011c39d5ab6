"""DreamBooth: dataset/<subject>/*.jpg, and boxes that a detector proposed and a person verified."""

from pathlib import Path
from typing import Any

from vwtransfer.config.datasets import DatasetSpec
from vwtransfer.datasets.folder import candidates
from vwtransfer.datasets.photos import ImageFileDataset
from vwtransfer.errors import UserError


class DreamBooth(ImageFileDataset):
    """A folder of photos for each subject, without splits.

    Args:
        root: the folder that holds the subjects' folders, or dataset/ with them.
        boxes: COCO JSON whose file names are paths such as cat2/00.jpg; None for no boxes.
        allow_unverified: whether boxes marked "verified": false may be used.
        manifest: file of a former choice.
        wanted: name, concepts, anchors, training_images, held_out_images and seed.

    Raises:
        UserError: see `ImageFileDataset`; or the file of boxes is not there yet.
    """

    def __init__(
        self,
        root: str,
        boxes: str | None,
        allow_unverified: bool = False,
        manifest: str | None = None,
        **wanted: Any,
    ) -> None:
        asked, folder = DatasetSpec(**wanted), Path(root).expanduser()
        folder = folder / "dataset" if (folder / "dataset").is_dir() else folder
        file = Path(boxes).expanduser() if boxes else None
        if file and not manifest and folder.is_dir() and not file.exists():
            raise UserError(
                f"dataset.{asked.name}.boxes={file}: there is no such file. "
                "action=propose_boxes has the detector propose boxes, for a person to verify; "
                f"dataset.{asked.name}.boxes=null leaves out what needs them."
            )
        super().__init__(
            asked,
            {"root": folder},
            lambda: candidates(asked, {"root": folder}, file),
            manifest,
            allow_unverified,
        )
