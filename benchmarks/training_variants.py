"""What fewer or other steps of training reach, by the loss of words of development concepts.

    python benchmarks/training_variants.py tiny_sd steps=200 steps=300,batch=1,rate=1e-2

Words of four development concepts each of tiny_textures and tiny_shapes are trained by each
variant; keys that are not given are the model's own. Then comes the mean loss on images, times and
noise that are the same for all variants, and no step's of training.
"""

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from vwtransfer.config.composition import compose
from vwtransfer.config.models import Training
from vwtransfer.leaderboard.splits import dev_concepts
from vwtransfer.models.latent_diffusion import LatentDiffusion
from vwtransfer.models.suite import build
from vwtransfer.seeds import generator
from vwtransfer.study import data_loading
from vwtransfer.training import projection
from vwtransfer.words.cells import Cell, cells

DATASETS = ("tiny_textures", "tiny_shapes")
CONCEPTS, VECTORS = 4, 4
LOOKS = {"generation": 5, "classification": 60, "detection": 60}  # of 8 images each
PICKED: dict[str, Callable[[Tensor], Tensor]] = {
    "middle": lambda times_2B: times_2B.sum(dim=0) // 2,
    "clean": lambda times_2B: times_2B.amin(dim=0),
    "noisy": lambda times_2B: times_2B.amax(dim=0),
}
UNSEEN = 100_000  # a step that no word is trained to: its noise is that of no training step


@dataclass(frozen=True)
class Variant:
    """One way of training.

    Attributes:
        schedule: constant, cosine, or linear down to 0.
        parametrization: free, or direction: vectors keep their first length.
        times: random; stratified: those of a batch are spread evenly; importance: of two draws the
            mean (middle), the smaller (clean) or the larger (noisy). Generators only.
        low: share of the steps, the first ones, on images of half the size. Generators only.
        noise: random, or antithetic: half a batch has the other half's with the other sign.
        average: weight of the former mean of the vectors at each step; 0: the last vectors count.
        start: anchor, neighbours (the mean of the anchor's ten nearest tokens), or name: the tokens
            of the concept's name, the last one repeated.
    """

    steps: int = 0
    batch: int = 0
    rate: float = 0.0
    schedule: str = "constant"
    parametrization: str = "free"
    times: str = "random"
    noise: str = "random"
    average: float = 0.0
    low: float = 0.0
    start: str = "anchor"


def variant(text: str) -> Variant:
    """A variant as the command line has it."""
    kinds: dict[str, Any] = {field.name: field.type for field in fields(Variant)}
    given = dict(part.split("=") for part in text.split(",") if part)
    return Variant(**{name: kinds[name](value) for name, value in given.items()})


class Trial:
    """A model and the words to train in it."""

    def __init__(self, name: str) -> None:
        keys = [f"dataset=[{','.join(DATASETS)}]", "direction=none", "anchor=paired"]
        config = compose([*keys, "model=tiny_families"])
        task = config.model.task_of(name)
        suite = build(config, torch.device("cpu"))
        self.model: Any = suite.models[name]
        datasets = data_loading.opened(config)
        chosen = {
            dataset: sorted(dev_concepts(dataset, list(datasets[dataset].concepts)))[:CONCEPTS]
            for dataset in DATASETS
        }
        found = [c for c in cells(config) if c.model == name and c.concept in chosen[c.dataset]]
        self.cells = {d: [c for c in found if c.dataset == d] for d in DATASETS}
        self.features = {d: self.model.features(datasets[d]) for d in DATASETS}
        self.low = self.features
        if isinstance(self.model, LatentDiffusion):
            halved = compose(
                [*keys, "model=tiny_families", f"model.{task}.image_size={self.model.size // 2}"]
            )
            half: Any = build(halved, torch.device("cpu")).models[name]
            self.low = {d: half.features(datasets[d]) for d in DATASETS}
        self.names = {c: datasets[c.dataset].concepts[c.concept] for c in found}
        self.task, self.own = task, self.model.training

    def start(self, kind: str) -> dict[str, Tensor]:
        """The words [N, K, D] of each dataset."""
        return {d: torch.stack([self._start(c, kind) for c in self.cells[d]]) for d in DATASETS}

    def _start(self, cell: Cell, kind: str) -> Tensor:
        space = self.model.text
        anchor_D = space.anchor_rows([cell.anchor])[0]
        if kind == "anchor":
            return anchor_D.repeat(VECTORS, 1)
        ((name, encoder),) = space.encoders.items()  # one text encoder
        if kind == "neighbours":
            table_SD = encoder.rows(space.eligible[name])
            nearest = (table_SD - anchor_D).norm(dim=1).topk(11, largest=False).indices[1:]
            return table_SD[nearest].mean(0).repeat(VECTORS, 1)
        rows = [space.anchor_rows([word])[0] for word in self.names[cell].split()]
        return torch.stack((rows + [rows[-1]] * VECTORS)[:VECTORS])

    def train(self, how: Variant) -> dict[str, Tensor]:
        """The trained words of each dataset."""
        self.model.training = Training(how.rate, how.steps, how.batch)
        images = {
            d: torch.stack([self.model.batches(self.features[d], c) for c in self.cells[d]], dim=1)
            for d in DATASETS
        }
        words = {d: word.requires_grad_() for d, word in self.start(how.start).items()}
        slices = list(self.model.text.slices.values())
        lengths = {
            d: projection.lengths(w.detach().flatten(0, 1), slices) for d, w in words.items()
        }
        means = {d: w.detach().clone() for d, w in words.items()}
        adam = torch.optim.Adam(words.values())
        for step in range(how.steps):
            share = step / how.steps
            falling = {"cosine": (1 + math.cos(math.pi * share)) / 2, "linear": 1 - share}
            adam.param_groups[0]["lr"] = how.rate * falling.get(how.schedule, 1.0)
            adam.zero_grad()
            sum(self._losses(d, words[d], images[d][step], step, how) for d in DATASETS).backward()
            adam.step()
            for d, word in words.items():
                if how.parametrization == "direction":
                    flat = word.detach().flatten(0, 1)[:, None]
                    held = projection.at_length(flat, lengths[d], slices)
                    word.data.copy_(held.reshape(word.shape))
                means[d] = how.average * means[d] + (1 - how.average) * word.detach()
        return means

    def _losses(
        self, dataset: str, words_NKD: Tensor, images_NB: Tensor, step: int, how: Variant
    ) -> Any:
        if isinstance(self.model, LatentDiffusion):
            self.model._draw = lambda *given: self._draw(*given, how)  # type: ignore[method-assign]
        features = self.low if step < how.low * how.steps else self.features
        given = features[dataset], images_NB.contiguous(), self.cells[dataset], step
        return self.model.loss(words_NKD, *given).sum()

    def _draw(self, cell: Cell, step: int, batch: int, shape: torch.Size, how: Variant) -> Any:
        stream = generator("denoising", cell.stream(self.task), step)
        sample = torch.randn(batch, *shape, generator=stream)
        drawn = batch // 2 if how.noise == "antithetic" else batch
        noise = torch.randn(drawn, *shape, generator=stream)
        times = self.model.times(drawn, stream)
        if how.times == "stratified":  # the middle of so many draws for each place, in order
            many = self.model.times(1001 * drawn, stream).sort().values
            times = many[
                torch.arange(drawn) * 1001 + torch.randint(1001, (drawn,), generator=stream)
            ]
        if how.times in PICKED:
            times = PICKED[how.times](torch.stack([times, self.model.times(drawn, stream)]))
        if how.noise == "antithetic":
            noise, times = torch.cat([noise, -noise]), torch.cat([times, times])
        return sample, noise, times

    @torch.no_grad()
    def loss(self, words: dict[str, Tensor]) -> float:
        """The mean over words of the loss on images that are the same for all variants."""
        looks, total = LOOKS[self.task], []
        self.model.training = replace(self.own, steps=looks, batch_size=8)
        for d in DATASETS:
            images = [self.model.batches(self.features[d], c) for c in self.cells[d]]
            for look, images_NB in enumerate(torch.stack(images, dim=1)):
                how = Variant(times="stratified")
                total.append(self._losses(d, words[d], images_NB, UNSEEN + look, how))
        return float(torch.stack(total).mean()) / CONCEPTS


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("variants", nargs="+", type=variant)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trial = Trial(arguments.model)
    print(f"{arguments.model}: {trial.loss(trial.start('anchor')):.4f} at the anchors")
    for given in arguments.variants:
        own = {"steps": trial.own.steps, "batch": trial.own.batch_size}
        own |= {"rate": trial.own.learning_rate}
        how = replace(given, **{name: getattr(given, name) or own[name] for name in own})
        began = time.process_time()
        loss, seconds = trial.loss(trial.train(how)), time.process_time() - began
        told = ", ".join(f"{f.name} {getattr(how, f.name)}" for f in fields(how))
        print(
            f"{loss:.4f}, {how.steps * how.batch} images a word, {seconds:.0f} s: {told}",
            flush=True,
        )


if __name__ == "__main__":
    main()
