"""What a word is worth without a method: typed as the nearest phrase, or its output mapped."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from tiny_text import space
from vwtransfer import results
from vwtransfer.leaderboard.cheapest import Cheapest, Mapped, Typed
from vwtransfer.leaderboard.density import draw_density
from vwtransfer.models.support import support_of
from vwtransfer.results import Record
from vwtransfer.transfer.hard_prompt import HardPrompt
from vwtransfer.transfer.prompts import calibration_prompts

TEMPLATE = "a photo of {}"
SOURCE, TARGET = space("detection"), space("classification")
SUPPORT = support_of(SOURCE, TARGET)
TESTED = "red striped star"


def phrases(length: int) -> list[tuple[str, ...]]:
    """Two of the calibration prompts, of so many words."""
    found = calibration_prompts(SUPPORT, 300, 3, [TESTED])
    return [phrase for phrase in found if len(phrase) == length][:2]


def test_a_word_that_is_a_phrase_is_typed_as_that_phrase() -> None:
    method = Cheapest("typed_nearest", 300, ["star", "red dotted moon"])
    fitted = method.fit(SOURCE, TARGET, SUPPORT, [TESTED])
    assert isinstance(fitted, Typed)
    asked = phrases(3)
    words_NKD = torch.stack([SOURCE.anchor_rows(phrase) for phrase in asked])
    typed = fitted.prompts(TEMPLATE, words_NKD).pooled_NE
    texts = [TEMPLATE.format(" ".join(phrase)) for phrase in asked]
    torch.testing.assert_close(typed, TARGET.encode_text(texts).pooled_NE)
    near = fitted.report["nearest_to_names"]
    assert set(near) == {"star", "red dotted moon"}
    assert all(0 < cosine <= 1.0001 for cosine in near.values())


def test_between_one_model_and_itself_the_mapped_output_is_its_own() -> None:
    fitted = Cheapest("mapped_output", 600).fit(TARGET, TARGET, support_of(TARGET, TARGET))
    assert isinstance(fitted, Mapped)
    words_NKD = torch.stack([TARGET.anchor_rows(phrase) for phrase in phrases(3)])
    own = TARGET.encode_words(TEMPLATE, words_NKD).pooled_NE
    found = fitted.prompts(TEMPLATE, words_NKD).pooled_NE
    assert torch.cosine_similarity(found, own).min() > 0.8  # the ridge's penalty shrinks it
    torch.testing.assert_close(found.norm(dim=1), own.norm(dim=1), atol=1e-3, rtol=0)


def test_a_generator_reads_more_than_one_vector() -> None:
    assert not Cheapest("mapped_output", 10).measures(space("generation"))
    assert Cheapest("typed_nearest", 10).measures(space("generation"))


def test_a_hard_prompt_of_tokens_is_these_tokens_and_nothing_forbidden() -> None:
    asked = [*phrases(3), tuple(TESTED.split())]
    words_NKD = torch.stack([SOURCE.anchor_rows(phrase) for phrase in asked])
    method = HardPrompt(calibration_prompts=300, steps=8)
    found_NKD = method.fit(SOURCE, TARGET, SUPPORT, [TESTED])(words_NKD)
    typed_NKD = torch.stack([TARGET.anchor_rows(phrase) for phrase in asked])
    torch.testing.assert_close(found_NKD[:2], typed_NKD[:2])
    assert not torch.equal(found_NKD[2], typed_NKD[2])


@pytest.fixture
def benchmark(tmp_path: Path) -> Callable[[str, float], None]:
    """Leaves a benchmark's folder in a setting, in which a method reaches a value."""

    def write(exclude: str, value: float) -> None:
        folder = tmp_path / f"density_{exclude}"
        (folder / "transfer").mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump({"transfer": {"exclude": exclude}}))
        report = {"nearest_to_names": {"star": 0.5, "moon": 0.7}}
        (folder / "transfer" / "typed_nearest-a_to_b-d.json").write_text(json.dumps(report))
        rows = [
            ("word", "b", "none", 0.8),
            ("anchor", "", "none", 0.4),
            ("word", "a", "ridge", value),
            ("name", "", "none", 0.6),
        ]
        records = [
            Record(
                experiment="e",
                dataset="d",
                concept=concept,
                anchor="" if kind == "name" else "zepu",
                delta=math.inf,
                seed=0,
                kind=kind,
                source_model=source,
                source_task="",
                transfer=transfer,
                target_model="b",
                target_task="classification",
                metric="classifier_balanced_accuracy",
                value=reached,
                num_images=1,
                eval_seconds=0.0,
            )
            for kind, source, transfer, reached in rows
            for concept in ("star", "moon")
        ]
        results.write_part(folder, records, "part")
        results.finish(folder)

    return write


def test_retention_stands_beside_how_near_prompts_come(
    benchmark: Callable[[str, float], None], tmp_path: Path
) -> None:
    benchmark("strict", 0.5)
    benchmark("description", 0.7)
    table, *pictures = draw_density(f"{tmp_path}/density_*", tmp_path / "density")
    lines = table.read_text().splitlines()
    assert lines[0] == "| attributes of a concept that a prompt may say | 1 | 2 |"
    assert lines[3] == "| cosine of name and nearest prompt | 0.60 | 0.60 |"
    assert lines[4] == "| `ridge` | 0.25 [0.25, 0.25] | 0.75 [0.75, 0.75] |"
    assert lines[5] == "| the name, typed | 0.50 [0.50, 0.50] | 0.50 [0.50, 0.50] |"
    assert pictures[0].read_bytes().startswith(b"\x89PNG")
