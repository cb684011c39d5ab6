"""How much text, and which map between two encoders' outputs, a transfer needs.

    python benchmarks/translators.py outputs/wide_benchmark_dev 8000 64000

In a benchmark of models that read one vector off a prompt: what each map predicts of a word's
output is used in place of it, so that no search for a word stands between. It is asked of words as
they are, of words less the offset of the other datasets' words, and of concepts' names, typed in
the source: what is lost of those is lost by the map. docs/transfer.md
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from benchmark_folder import BenchmarkFolder
from sklearn.kernel_approximation import Nystroem
from torch import Tensor, nn

from vwtransfer.leaderboard.cheapest import CHEAPEST, MAX_WORDS, RIDGE_ALPHA, TEMPLATES, Mapped
from vwtransfer.results.statistics import retention
from vwtransfer.tasks.registry import tasks_of
from vwtransfer.transfer.calibration_words import common_offset
from vwtransfer.transfer.kept_readings import KeptReadings
from vwtransfer.transfer.prompts import END, calibration_prompts, encoded_phrases
from vwtransfer.transfer.readers import Reader, nearest_mean, ridge_reader

Translator = Callable[[Tensor], Tensor]  # what the source reads [N, F] -> the target, [N, G]
CENTRES, WIDTH, STEPS, BATCH = 1000, 512, 1000, 512


def translators(y_BF: Tensor, x_BG: Tensor) -> Iterator[tuple[str, Translator]]:
    """Maps fitted on what two encoders make of the same phrases, both with mean zero."""
    ridge, _ = ridge_reader(y_BF[:, None], x_BG[:, None], RIDGE_ALPHA)

    def linear(read_NF: Tensor) -> Tensor:
        return ridge(read_NF[:, None])[:, 0]

    yield "ridge", linear
    near = nearest_mean(y_BF[:, None], x_BG[:, None], 200, 0.07)
    yield "nearest 200 phrases", lambda read_NF: near(read_NF[:, None])[:, 0]
    yield "kernel ridge", _kernel_ridge(y_BF, x_BG)
    for loss in ("squares", "contrastive"):
        yield f"residual network, {loss}", _network(y_BF, x_BG, linear, loss)


def _kernel_ridge(y_BF: Tensor, x_BG: Tensor) -> Translator:
    """Gaussian kernel over directions, on so many of the phrases (Nystroem)."""
    unit_BF = F.normalize(y_BF, dim=-1)
    kernel = Nystroem(gamma=1.0, n_components=min(CENTRES, len(y_BF)), random_state=0)
    features_BC = torch.from_numpy(kernel.fit_transform(unit_BF.double().numpy()))
    mean_C = features_BC.mean(0)
    centred_BC = features_BC - mean_C
    gram_CC = centred_BC.T @ centred_BC / len(y_BF)
    gram_CC += 1e-4 * torch.eye(len(gram_CC)) * gram_CC.diagonal().mean()
    weights_CG = torch.linalg.solve(gram_CC, centred_BC.T @ x_BG.double() / len(y_BF))

    def translate(read_NF: Tensor) -> Tensor:
        found_NC = torch.from_numpy(kernel.transform(F.normalize(read_NF, dim=-1).double().numpy()))
        return ((found_NC - mean_C) @ weights_CG).to(x_BG)

    return translate


def _network(y_BF: Tensor, x_BG: Tensor, linear: Translator, loss: str) -> Translator:
    """The ridge map, and what two hidden layers add to it."""
    stream = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    scale = y_BF.square().mean().sqrt()
    layers = nn.Sequential(
        *(nn.Linear(y_BF.shape[1], WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU()),
        nn.Linear(WIDTH, x_BG.shape[1]),
    )
    nn.init.zeros_(layers[-1].weight)
    base_BG = linear(y_BF)
    adam = torch.optim.AdamW(layers.parameters(), lr=1e-3)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(y_BF), (BATCH,), generator=stream)
        found = base_BG[rows] + layers(y_BF[rows] / scale)
        wanted = x_BG[rows]
        if loss == "squares":
            value = (found - wanted).square().sum(-1).mean() / x_BG.var(0).sum()
        else:  # InfoNCE: its own phrase among those of the batch
            like = F.normalize(found, dim=-1) @ F.normalize(wanted, dim=-1).T / 0.05
            value = F.cross_entropy(like, torch.arange(BATCH))
        adam.zero_grad()
        value.backward()
        adam.step()
        falling.step()

    @torch.no_grad()
    def translate(read_NF: Tensor) -> Tensor:
        return linear(read_NF) + layers(read_NF / scale)

    return translate


def _given(read_NG: Tensor) -> Reader:
    """What was found already, whatever is read."""
    return lambda read_NRF: read_NG[:, None]


def main() -> None:
    """Prints retention of each map by how much text it was fitted on."""
    folder, counts = BenchmarkFolder(Path(sys.argv[1])), [int(count) for count in sys.argv[2:]]
    models, tasks = folder.suite.models, tasks_of(folder.config, folder.suite)
    added, names = [], []
    for source, target in folder.config.direction:
        here, there = models[source], models[target]
        for dataset in folder.datasets.values():
            rows = folder.rows(CHEAPEST[0], dataset, target, source)
            words, words_NKD = folder.words(rows)
            typed = [tuple(dataset.concepts[cell.concept].split()) for cell in words]
            support, excluded = folder.known(dataset, source, target)
            held_out = tasks[there.task].held_out(there, dataset)
            for count in counts:
                phrases = calibration_prompts(support, count, MAX_WORDS, excluded)
                source_bank, target_bank = (
                    KeptReadings().bank(model.text, TEMPLATES, phrases, END)
                    for model in (here, there)
                )
                reading = source_bank.reading
                with torch.no_grad():
                    word_NF = reading(words_NKD)[:, 0]
                    offset_RF, _ = common_offset(folder.path, reading, excluded)
                    name_NF = encoded_phrases(here.text, TEMPLATES[0], typed)[:, 0]
                asked = {
                    "words": word_NF,
                    "words less the offset": word_NF - offset_RF[0],
                    "names": (name_NF - reading.mean_RF[0]) / reading.scale_F,
                }
                y_BF, x_BG = source_bank.read_BRF[:, 0], target_bank.read_BRF[:, 0]
                for kind, translate in translators(y_BF, x_BG):
                    for what, read_NF in asked.items():
                        found = _given(translate(read_NF))
                        mapped = Mapped(source=source_bank, target=target_bank, linear=found)
                        prompts = mapped.prompts(there.prompt_template, words_NKD)
                        concepts = [cell.concept for cell in words]
                        with torch.no_grad():
                            measured = tasks[there.task].measure(there, prompts, held_out, concepts)
                        name = f"{kind} | {count:,} phrases | {what}"
                        names.append(name)
                        added.append(folder.renamed(rows, name, measured))
                print(f"{source} to {target}, {dataset.name}: {count:,} phrases", flush=True)
    frame = pd.concat([folder.frame, *added], ignore_index=True)
    for name in dict.fromkeys(names):
        kept = retention(frame, name)
        each = "; ".join(f"{a} to {b} {kept}" for (a, b), kept in kept.directions.items())
        print(f"{name}: {kept.overall}, capped {kept.capped} ({each})")


if __name__ == "__main__":
    main()
