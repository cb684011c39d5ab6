"""Names that changed are used nowhere: in code, in the config, and in the results' columns."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import vwtransfer
from vwtransfer.config.composition import composed, config_folder
from vwtransfer.config.renamed import CHOICES, KEYS, new_choice, new_key
from vwtransfer.main import ACTIONS
from vwtransfer.results.schema import SCHEMA

PACKAGE = Path(vwtransfer.__file__).parent
MODULES = {
    *("box_proposals", "formats", "grid", "intervals", "material", "published", "result_parts"),
    *("study_folder", "travel", "illustrations", "illustrations.agreement"),
    *("cluster.expected", "cluster.keep", "cluster.shown", "config.refusals"),
    *("datasets.choice", "evaluation.causes", "evaluation.queries", "evaluation.kept_images"),
    *("leaderboard.carrying", "leaderboard.explaining", "leaderboard.halves"),
    *("models.few_rows", "report.shares", "report.story", "results.intervals", "results.parts"),
    *("tinyworld.build", "training.ball", "training.packs", "training.peak"),
    *("training.transferable", "tracking.sync"),
}
CLASSES = {
    *("Lesson", "Nowhere", "Query", "Pack", "Surroundings", "Causes", "Workshop", "Found"),
    *("AsCarried", "Wanted", "Remarks", "Photos", "OutsidePenalty", "EarlyPenalty"),
}
FUNCTIONS = {
    *("see", "look", "_eye", "carry", "story", "few_rows", "kept_images", "turning_block"),
    *("strange_output", "remarks_of", "ordinary_words", "word_identity"),
}
ATTRIBUTES = {
    *("trained_for", "evaluated_on", "measured_at_once", "keep_images", "jointly_with"),
    *("outside_penalty", "early_penalty", "toward_words", "target_places", "claim_seconds"),
    *("signal_seconds", "words_SD", "dear", "rivals"),
}
COLUMNS = {
    *("trained_for", "evaluated_on", "examples", "seconds", "outside_table", "far_from_words"),
    *("strange_output", "turning_block"),
}
READS_OLD_FILES = {"results/legacy.py"}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        yield name, ast.parse(path.read_text(encoding="utf-8"))


def names_of(tree: ast.Module) -> Iterator[str]:
    """Every name that is defined, assigned, passed or read as an attribute."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef() | ast.FunctionDef():
                yield node.name
            case ast.Attribute():
                yield node.attr
            case ast.Name():
                yield node.id
            case ast.arg() | ast.keyword() if node.arg:
                yield node.arg


def test_no_module_has_a_former_name() -> None:
    there = {name.removesuffix(".py").replace("/", ".") for name, _ in sources()}
    there |= {name.rpartition(".")[0] for name in there}
    assert not there & MODULES


def test_no_class_function_or_attribute_has_a_former_name() -> None:
    former = CLASSES | FUNCTIONS | ATTRIBUTES
    found = {
        (name, each)
        for name, tree in sources()
        if name not in READS_OLD_FILES
        for each in names_of(tree)
        if each in former
    }
    assert not found


def test_no_column_has_a_former_name() -> None:
    assert not set(SCHEMA.names) & COLUMNS


def keys_of(value: Any, inside: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield f"{inside}{name}"
            yield from keys_of(each, f"{inside}{name}.")


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (config_folder() / group).glob("*.yaml"))


def test_no_config_key_has_a_former_name() -> None:
    methods = [f"+transfer@benchmark.methods.{name}={name}" for name in choices("transfer")]
    datasets = f"dataset=[{','.join(choices('dataset'))}]"
    found = set()
    for overrides in (
        [datasets, *methods, "model=paper"],
        *([f"cluster={name}"] for name in choices("cluster")),
        ["experiment=demo", "wandb=off"],
    ):
        values = OmegaConf.to_container(composed(overrides), resolve=False)
        keys = set(keys_of(values))
        keys |= {
            f"transfer.{key.split('.', 3)[3]}"
            for key in keys
            if key.count(".") > 2 and key.startswith("benchmark.methods.")
        }
        found |= {(key, new_key(key)) for key in keys if new_key(key)}
    assert not found


def test_every_new_key_is_there() -> None:
    keys: set[str] = set()
    for overrides in (["transfer=token_state_matching"], ["dataset=folder"], ["cluster=slurm"]):
        keys |= set(keys_of(OmegaConf.to_container(composed(overrides), resolve=False)))
    for former, new in KEYS.items():
        wanted = new.replace("model.NAME", "model.tiny_sd").replace("dataset.*", "dataset.folder")
        wanted = wanted.replace("model.*", "model.tiny_sd")
        assert wanted in keys, former


@pytest.mark.parametrize(
    ("former", "new"),
    [
        ("model.tiny_owlv2.template", "model.tiny_owlv2.prompt_template"),
        ("model.generation.memory", "model.generation.memory_savers"),
        ("dataset.folder.rivals", "dataset.folder.distractors"),
        ("trainer.num_vectors", None),
        ("model.generation", None),
    ],
)
def test_a_former_key_says_its_new_name(former: str, new: str | None) -> None:
    assert new_key(former) == new


def test_every_new_choice_is_there() -> None:
    for group in ("dataset", "experiment", "transfer"):
        there = {path.stem for path in (config_folder() / group).glob("*.yaml")}
        for former, new in CHOICES[group].items():
            assert former not in there
            assert new in there
    for former, new in CHOICES["action"].items():
        assert former not in ACTIONS
        assert new.split()[0] in ACTIONS
    assert new_choice("transfer", "clearest_matching") == "readout_matching"
