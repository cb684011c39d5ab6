"""One stage of the build: a training loop that can be stopped anywhere and continued.

A step's chance comes from the stage's seed and the step's number alone, so that a continued run
repeats nothing and skips nothing, and ends with the bits of a run that was never stopped.
"""

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from vwtransfer.files import write_atomically


@dataclass(frozen=True)
class Recipe:
    """How long and how fast a stage learns.

    Attributes:
        steps: optimizer steps.
        batch: images per step.
        learning_rate: its peak, after a linear warm-up and before a cosine to zero.
        warm_up: steps of the warm-up.
        weight_decay: of AdamW, on matrices.
        average: decay of the running mean of the weights; 0 keeps the last weights.
        pool: images drawn for the stage.
        restarts: steps at which warm-up and cosine start anew (warm restarts).
        horizon: steps after which the cosine would be zero, where it is cut short before; None: the
            steps that there are.
        fall: over so many last steps before a restart or the end the rate also falls linearly to
            zero, as it must where the cosine is cut short.
    """

    steps: int
    batch: int
    learning_rate: float
    warm_up: int = 100
    weight_decay: float = 0.02
    average: float = 0.0
    pool: int = 32768
    restarts: tuple[int, ...] = ()
    horizon: int | None = None
    fall: int = 0


@dataclass(frozen=True)
class Chance:
    """The randomness of one step: for Python's choices and for tensors."""

    python: random.Random
    torch: torch.Generator

    @classmethod
    def of(cls, stage: str, seed: int, step: int) -> "Chance":
        """The chance of a stage's step."""
        rng = random.Random(f"{stage} {seed} {step}")
        return cls(rng, torch.Generator().manual_seed(rng.getrandbits(62)))


Loss = Callable[[Chance], Mapping[str, Tensor]]
Report = Callable[[int, Mapping[str, float]], None]


def train(
    name: str,
    modules: nn.ModuleDict,
    loss: Loss,
    recipe: Recipe,
    checkpoint: Path,
    seed: int,
    report: Report,
    every: int = 100,
    rates: Mapping[str, float] | None = None,
) -> float:
    """Trains modules in place, from the checkpoint if there is one.

    Args:
        name: the stage's name, part of its chance.
        modules: everything that learns.
        loss: maps a step's chance to named losses; their sum is minimised.
        recipe: steps, batch and rates.
        checkpoint: file the state is kept in.
        seed: the build's seed.
        report: told after each step the step's number and the losses.
        every: steps between two checkpoints.
        rates: learning rates of single modules relative to the recipe's.

    Returns:
        Seconds spent on the steps, over all runs.
    """
    groups = _groups(modules, recipe, rates or {})
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    peaks = [group["lr"] for group in optimizer.param_groups]
    mean = {k: v.clone() for k, v in modules.state_dict().items()} if recipe.average else {}
    step, seconds = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        modules.load_state_dict(state["modules"])
        optimizer.load_state_dict(state["optimizer"])
        step, seconds, mean = state["step"], state["seconds"], state["mean"]
    modules.train()
    while step < recipe.steps:
        start = time.perf_counter()
        scale = _schedule(step, recipe)
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * scale
        losses = loss(Chance.of(name, seed, step))
        optimizer.zero_grad()
        sum(losses.values(), torch.zeros(())).backward()
        nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimizer.step()
        step += 1
        if mean:
            _average(mean, modules, min(recipe.average, step / (step + 10)))
        seconds += time.perf_counter() - start
        report(step, {key: float(value.detach()) for key, value in losses.items()})
        if step % every == 0 or step == recipe.steps:
            state = {
                "modules": modules.state_dict(),
                "optimizer": optimizer.state_dict(),
                "mean": mean,
                "step": step,
                "seconds": seconds,
            }
            write_atomically(checkpoint, partial(torch.save, state))
    if mean:
        modules.load_state_dict(mean)
    modules.eval()
    return seconds


def _groups(
    modules: nn.ModuleDict, recipe: Recipe, rates: Mapping[str, float]
) -> list[dict[str, object]]:
    """Parameter groups: matrices decay, vectors and scalars do not."""
    groups: list[dict[str, object]] = []
    for name, module in modules.items():
        rate = recipe.learning_rate * rates.get(name, 1.0)
        learned = [p for p in module.parameters() if p.requires_grad]
        for decay, members in (
            (recipe.weight_decay, [p for p in learned if p.ndim > 1]),
            (0.0, [p for p in learned if p.ndim < 2]),
        ):
            if members:
                groups.append({"params": members, "lr": rate, "weight_decay": decay})
    return groups


def _schedule(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine to zero, from every restart; as a share of the peak."""
    ends = (*recipe.restarts, recipe.steps)
    start, end = next((a, b) for a, b in zip((0, *ends), ends, strict=False) if step < b)
    done, length = step - start, recipe.horizon or end - start
    if done < recipe.warm_up:
        return (done + 1) / recipe.warm_up
    share = (done - recipe.warm_up) / max(1, length - recipe.warm_up)
    scale = 0.5 * (1 + math.cos(math.pi * share))
    return scale * min(1.0, (end - step) / recipe.fall) if recipe.fall else scale


@torch.no_grad()
def _average(mean: dict[str, Tensor], modules: nn.Module, decay: float) -> None:
    for key, value in modules.state_dict().items():
        if value.is_floating_point():
            mean[key].lerp_(value, 1 - decay)
        else:
            mean[key].copy_(value)
