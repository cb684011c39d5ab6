"""What training leaves in every word: what words of a model have in common beside their names.

    python benchmarks/training_noise.py

Of the words kept in kept/tiny_section4, four anchors a dataset: the share of what is read of them
beside their concept's name that is the same in all words, and the cosine of its means over any two
datasets. docs/transfer.md
"""

import itertools
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from vwtransfer.config.composition import compose
from vwtransfer.models.suite import build
from vwtransfer.models.support import support_of
from vwtransfer.transfer.kept_readings import KeptReadings
from vwtransfer.transfer.prompts import END, calibration_prompts, encoded_phrases

KEPT = Path(__file__).parents[1] / "kept" / "tiny_section4"
TEMPLATE = "a photo of {}"
ANCHORS = 4  # of a dataset


@torch.no_grad()
def main() -> None:
    """Prints a line for each model that reads a prompt off at its end."""
    config = compose(["experiment=transfer_benchmark", "device=cpu"])
    models = build(config, torch.device("cpu")).models
    anchors = {name: list(each.anchors)[:ANCHORS] for name, each in config.dataset.items()}
    for name in ("tiny_owlv2", "tiny_clip"):
        space = models[name].text
        phrases = calibration_prompts(support_of(space, space), 4000, 3, [])
        reading = KeptReadings().bank(space, [TEMPLATE], phrases, END).reading
        words, names, datasets = [], [], []
        for key, vectors_KD in load_file(KEPT / f"{name}.safetensors").items():
            dataset, _, concept, rest = key.split("/")
            if rest.split("-")[0] in anchors[dataset]:
                words.append(vectors_KD)
                names.append(tuple(concept.split("_")))
                datasets.append(dataset)
        word_NF = reading(torch.stack(words))[:, 0]
        name_NF = encoded_phrases(space, TEMPLATE, names)[:, 0] - reading.mean_RF[0]
        scale_N = (word_NF * name_NF).sum(dim=1) / name_NF.square().sum(dim=1)
        rest_NF = word_NF - scale_N[:, None] * name_NF
        common = rest_NF.mean(dim=0).square().sum() / rest_NF.square().sum(dim=1).mean()
        means = [
            rest_NF[[n for n, each in enumerate(datasets) if each == dataset]].mean(dim=0)
            for dataset in anchors
        ]
        cosines = [
            float(F.cosine_similarity(one, other, dim=0))
            for one, other in itertools.combinations(means, 2)
        ]
        print(
            f"{name}: {len(words)} words; common to all {float(common):.2f}; "
            f"cosines of datasets {min(cosines):.2f} to {max(cosines):.2f}"
        )


if __name__ == "__main__":
    main()
