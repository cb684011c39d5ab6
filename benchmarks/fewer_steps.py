"""Training losses that fewer or smaller steps reach, on development concepts.

    python benchmarks/fewer_steps.py generation
    python benchmarks/fewer_steps.py detection classification

Words of the development concepts of tiny_textures are trained by each setting. Their loss is then
taken on images that are the same for all settings; a generator's with noise that none was trained
with.
"""

import argparse
import time

import torch

from vwtransfer.config.composition import compose
from vwtransfer.leaderboard.splits import dev_concepts
from vwtransfer.models.suite import build
from vwtransfer.progress import Stages, terminal
from vwtransfer.study import Study, data_loading, train_words
from vwtransfer.words.cells import cells
from vwtransfer.words.store import WordStore

DATASET = "tiny_textures"
SETTINGS = {  # steps, learning rate, batch size; the models' own first
    "generation": [
        *((200, 3e-3, 8), (100, 3e-3, 8), (100, 6e-3, 8), (60, 1e-2, 8)),
        *((100, 6e-3, 4), (40, 1.5e-2, 8)),
    ],
    "detection": [(1000, 1e-3, 8), (500, 1e-3, 8), (300, 2e-3, 8), (300, 3e-3, 8), (200, 3e-3, 8)],
    "classification": [
        *((1000, 1e-3, 8), (500, 1e-3, 8), (300, 2e-3, 8), (300, 3e-3, 8), (200, 3e-3, 8))
    ],
}
EVALUATIONS = {"generation": 40, "detection": 100, "classification": 100}
FAR = 100_000  # a step that no word is trained to: its noise is that of no training step


def trained(task: str, steps: int, rate: float, batch: int) -> tuple[Study, float]:
    """A study whose words are trained, and the processor's seconds that it took."""
    keys = [
        *("model=tiny", f"dataset={DATASET}", f"task={task}", "direction=none", "anchor=paired"),
        *(f"model.{task}.training.{key}" for key in (f"steps={steps}", f"batch_size={batch}")),
        *(f"model.{task}.training.learning_rate={rate}", "outputs=outputs/fewer_steps"),
        f"name={task}-{steps}-{rate}-{batch}",
    ]
    dev = sorted(dev_concepts(DATASET, list(compose(keys).dataset[DATASET].concepts)))
    config = compose([*keys, f"concept=[{','.join(dev)}]"])
    suite, datasets = build(config, torch.device("cpu")), data_loading.opened(config)
    store = WordStore(config.folder / "words")
    bars = Stages(None, terminal(100))
    study = Study(config, suite, datasets, cells(config), store, bars, lambda: False)
    began = time.process_time()
    train_words(study)
    return study, time.process_time() - began


@torch.no_grad()
def loss_of(study: Study, name: str, count: int) -> float:
    """Mean loss of the words of a model over `count` batches."""
    model, dataset = study.suite.models[name], study.datasets[DATASET]
    features, of = model.features(dataset), study.cells
    words_NKD = torch.stack([study.store.load(c, model.text.width).vectors_KD for c in of])
    images_SNB = torch.stack([model.batches(features, cell) for cell in of], dim=1)
    if model.task == "generation":  # the same four images, with noise of many kinds
        images_SNB = images_SNB[:1, :, :4].expand(count, -1, -1)
    losses = [
        model.loss(words_NKD, features, images_NB.contiguous(), of, FAR + number)
        for number, images_NB in enumerate(images_SNB[:count])
    ]
    return float(torch.stack(losses).mean())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("tasks", nargs="+", choices=sorted(SETTINGS))
    torch.set_num_threads(1)
    for task in parser.parse_args().tasks:
        for steps, rate, batch in SETTINGS[task]:
            study, seconds = trained(task, steps, rate, batch)
            (name,) = study.config.trained
            loss = loss_of(study, name, EVALUATIONS[task])
            print(f"{task}: {steps} steps of {batch} at {rate:g}: {loss:.4f}, {seconds:.0f} s")


if __name__ == "__main__":
    main()
