"""What action=bundle makes; docs/share.md."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class BundleConfig:
    """What action=bundle makes.

    Attributes:
        license: that the bundle names, as the hub writes it; None: none.
        pictures: folders of the study whose pictures are put in. Detections show photos of the
            dataset, which may not be one's own to share.
        zip: whether all of it is also put into one .zip.
    """

    license: str | None = None
    pictures: tuple[Literal["images", "prompted", "cut", "detections"], ...] = (
        *("images", "prompted", "cut"),
    )
    zip: bool = False


USUAL = BundleConfig()
"""Of a config that was kept before there were bundles."""
