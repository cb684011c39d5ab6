"""What is measured of each model of the tiny world."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from vwtransfer.datasets.rendered import Rendered
from vwtransfer.tinyworld.lexicon import drawn_concepts
from vwtransfer.tinyworld.world import FRAME, TINY, WORLDS, Layout, World
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
    DATASETS,
    Measure,
    datasets_of,
    detector_quality,
    eye_quality,
    generator_quality,
)

Measuring = Callable[[Path, Sequence[Rendered]], dict[str, Measure]]


@cache
def _world() -> Pool:
    return draw_pool("quality", 1024, Layout(), FRAME)


def _reader(load: Callable[[Path], ImageReader]) -> Measuring:
    return lambda folder, datasets: eye_quality(load(folder), _world(), datasets)


def _clip(world: World) -> Measuring:
    def of(folder: Path, datasets: Sequence[Rendered]) -> dict[str, Measure]:
        pool = draw_pool(f"quality {world.name}", 1024, Layout(), FRAME, world=world)
        return eye_quality(classifier_eye(folder), pool, datasets)

    return of


def _detection(folder: Path, datasets: Sequence[Rendered]) -> dict[str, Measure]:
    return detector_quality(folder, datasets, draw_pool("quality detection", 512, Layout(), FRAME))


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
    **{
        f"{world.name}_{kind}": measuring
        for world in WORLDS.values()
        if world != TINY
        for kind, measuring in (("clip", _clip(world)), ("owlv2", detector_quality))
    },
}
"""What is measured of each model, by its folder."""


def measure(weights: Path, models: Iterable[str] = MEASURED) -> dict[str, dict[str, Measure]]:
    """The quality of models of a weights folder; of a generator the judge is needed too."""
    return {name: MEASURED[name](weights / name, datasets_of(_datasets(name))) for name in models}


def _datasets(model: str) -> Iterable[str]:
    world = WORLDS.get(model.split("_")[0])
    return DATASETS if world in (None, TINY) else drawn_concepts(world)
