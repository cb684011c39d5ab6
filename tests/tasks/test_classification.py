"""Recall and balanced accuracy, beside open_clip's own scores and scikit-learn's own metrics."""

import open_clip
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, recall_score

from composing import compose
from drawn import Drawn
from vwtransfer.datasets import held_out_examples
from vwtransfer.models.open_clip import OpenClip
from vwtransfer.models.suite import build
from vwtransfer.tasks.classification import Classification


@torch.no_grad()
def test_metrics_are_those_of_the_libraries() -> None:
    model = build(compose([]), torch.device("cpu")).models["tiny_clip"]
    assert isinstance(model, OpenClip)
    dataset, task = Drawn(), Classification()
    examples = held_out_examples(dataset)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{model.folder}")

    def scores(prompts: list[str]) -> torch.Tensor:
        """Cosines [M, N] by open_clip alone."""
        pixels = torch.stack([model.transform(example.load()) for example in examples])
        image_ME = model.model.encode_image(pixels, normalize=True)
        return image_ME @ model.model.encode_text(tokenizer(prompts), normalize=True).T

    by_name_MC = scores([f"a photo of {name}" for name in dataset.concepts.values()])
    # every other concept's name in place of the concept's own: some images are claimed, some not
    names = list(dataset.concepts.values())
    words = [f"a photo of {names[(i + 1) % len(names)]}" for i in range(len(names))]
    by_word_MN = scores(words)
    measured = task.measure(
        model, model.text.encode_text(words), task.held_out(model, dataset), list(dataset.concepts)
    )
    for n, (concept, found) in enumerate(zip(dataset.concepts, measured, strict=True)):
        ranked_MC = by_name_MC.clone()
        ranked_MC[:, n] = by_word_MN[:, n]
        claimed = (ranked_MC.argmax(dim=1) == n).tolist()
        own = [example.concept == concept for example in examples]
        assert found.values == {
            "classifier_accuracy": pytest.approx(recall_score(own, claimed)),
            "classifier_balanced_accuracy": pytest.approx(balanced_accuracy_score(own, claimed)),
        }
        assert found.num_images == sum(own)
    values = {found.values["classifier_balanced_accuracy"] for found in measured}
    assert len(values) > 1
