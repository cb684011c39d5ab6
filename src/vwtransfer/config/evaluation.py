"""What is measured of words, and with what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vwtransfer.config.models import Node
from vwtransfer.errors import UserError

Similarity = Literal["clip_i", "clip_t", "dino"]


@dataclass(frozen=True)
class EvaluationConfig:
    """What is measured beside the words themselves, and kept.

    Attributes:
        baselines: what words are compared with.
        save_images: whether generations are kept.
        metrics: of generations, beside the accuracy; see `tasks.generation`.
    """

    baselines: tuple[Literal["anchor", "name", "random"], ...]
    save_images: bool
    metrics: tuple[Similarity, ...] = ()


def check_metrics(metrics: Sequence[Similarity], prompts: Sequence[str], dino: Node | None) -> None:
    """Refuses metrics that the suite has nothing to measure with.

    Args:
        metrics: of the config.
        prompts: the suite's `fidelity_prompts`.
        dino: its node.

    Raises:
        UserError: says what to choose.
    """
    if "clip_t" in metrics and not prompts:
        raise UserError(
            "evaluation.metrics: clip_t needs prompts to draw, and this suite has none. Give some "
            "with 'model.fidelity_prompts=[a photo of {} on the beach, a photo of {} in the snow]'."
        )
    if "dino" in metrics and dino is None:
        raise UserError(
            "evaluation.metrics: dino needs a model, and this suite has none. Choose one with "
            "model/dino=dino_vits16."
        )
