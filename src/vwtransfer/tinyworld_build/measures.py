"""What is measured of each model of the tiny world."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from vwtransfer.datasets.rendered import Rendered
from vwtransfer.tinyworld.world import FRAME, Layout
from vwtransfer.tinyworld_build.autoencoder import PIXELS as GENERATED
from vwtransfer.tinyworld_build.grounding_quality import grounding_quality
from vwtransfer.tinyworld_build.image_readers import (
    ImageReader,
    classifier_eye,
    judge_eye,
    siglip_eye,
)
from vwtransfer.tinyworld_build.pool import Pool, draw_pool
from vwtransfer.tinyworld_build.quality import (
    Measure,
    detector_quality,
    eye_quality,
    generator_quality,
    tiny_datasets,
)

Measuring = Callable[[Path, Sequence[Rendered]], dict[str, Measure]]


@cache
def _world() -> Pool:
    return draw_pool("quality", 1024, Layout(), FRAME)


def _reader(load: Callable[[Path], ImageReader]) -> Measuring:
    return lambda folder, datasets: eye_quality(load(folder), _world(), datasets)


def _detection(folder: Path, datasets: Sequence[Rendered]) -> dict[str, Measure]:
    return detector_quality(folder, draw_pool("quality detection", 512, Layout(), FRAME), datasets)


def _generation(folder: Path, datasets: Sequence[Rendered]) -> dict[str, Measure]:
    alone = draw_pool("quality generation", 512, Layout(counts=(1.0,)), GENERATED)
    return generator_quality(folder, judge_eye(folder.parent / "judge"), alone, datasets)


MEASURED: Mapping[str, Measuring] = {
    "judge": _reader(judge_eye),
    "classification": _reader(classifier_eye),
    "detection": _detection,
    "generation": _generation,
    "tiny_sd_b": _generation,
    "tiny_sdxl": _generation,
    "tiny_flux": _generation,
    "tiny_siglip": _reader(siglip_eye),
    "tiny_grounding_dino": grounding_quality,
}
"""What is measured of each model, by its folder."""


def measure(weights: Path, models: Iterable[str] = MEASURED) -> dict[str, dict[str, Measure]]:
    """The quality of models of a weights folder; of a generator the judge is needed too."""
    datasets = tiny_datasets()
    return {name: MEASURED[name](weights / name, datasets) for name in models}
