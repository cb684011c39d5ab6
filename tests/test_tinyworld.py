"""The tiny world: renderer, words, datasets, and the models that come with the package."""

import itertools
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
import yaml
from rich.progress import Progress
from transformers import (
    AutoTokenizer,
    CLIPTokenizer,
    Owlv2ForObjectDetection,
    Owlv2Processor,
)

import vwtransfer.tinyworld
from vwtransfer.config.composition import config_folder
from vwtransfer.datasets.rendered import Rendered
from vwtransfer.errors import UserError
from vwtransfer.models.vocabulary import of_transformers
from vwtransfer.tinyworld.lexicon import (
    nouns,
    parse,
    split_words,
    support,
    whole_words,
    words,
)
from vwtransfer.tinyworld.renderer import render
from vwtransfer.tinyworld.world import COMBINATIONS, Layout, sample_scene
from vwtransfer.tinyworld_build import quality
from vwtransfer.tinyworld_build.build import run
from vwtransfer.tinyworld_build.captions import caption
from vwtransfer.tinyworld_build.card import GENERATORS, model_card
from vwtransfer.tinyworld_build.image_readers import classifier_eye, judge_eye, siglip_eye
from vwtransfer.tinyworld_build.pool import draw_pool
from vwtransfer.tinyworld_build.recipes import QUICK
from vwtransfer.tinyworld_build.siglip_tokenizer import siglip_tokenizer
from vwtransfer.tinyworld_build.stages import Build
from vwtransfer.tinyworld_build.tokenizer import CONTEXT, save_tokenizer, tokenizer

WEIGHTS = Path(vwtransfer.tinyworld.__file__).parent / "weights"
DATASETS = {dataset.name: dataset for dataset in quality.datasets_of(quality.DATASETS)}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def recorded() -> dict[str, dict[str, quality.Measure]]:
    found: dict[str, dict[str, quality.Measure]] = json.loads(
        (WEIGHTS / "quality.json").read_text(encoding="utf-8")
    )["models"]
    return found


def pixels(dataset: Rendered, split: str, concept: str) -> list[bytes]:
    return [example.load().tobytes() for example in getattr(dataset, split)(concept)]


# The renderer


def test_a_scene_is_drawn_alike_alone_and_among_others() -> None:
    rng = random.Random(0)
    scenes = [sample_scene(rng, main, Layout()) for main in rng.sample(COMBINATIONS, 12)]
    together = render(scenes)
    for i, scene in enumerate(scenes):
        alone = render([scene])
        assert torch.equal(alone.images_BCHW[0], together.images_BCHW[i])
        assert alone.boxes[0] == together.boxes[i]


def test_boxes_are_tight_around_what_was_drawn() -> None:
    rng = random.Random(1)
    scenes = [sample_scene(rng, main, Layout()) for main in rng.sample(COMBINATIONS, 24)]
    drawing = render(scenes)
    for covered_HW, boxes in zip(drawing.covered_BHW, drawing.boxes, strict=True):
        for x0, y0, x1, y1 in boxes:
            inside = covered_HW[int(y0) : int(y1), int(x0) : int(x1)]
            assert inside[0].any() and inside[-1].any()
            assert inside[:, 0].any() and inside[:, -1].any()
            covered_HW[int(y0) : int(y1), int(x0) : int(x1)] = False
        assert not covered_HW.any()


def test_the_main_thing_is_the_largest_and_nothing_touches() -> None:
    rng = random.Random(2)
    for main in rng.sample(COMBINATIONS, 40):
        scene = sample_scene(rng, main, Layout())
        assert scene.things[0].combination == main
        assert all(thing.radius < scene.things[0].radius for thing in scene.things[1:])
        for a, b in itertools.combinations(scene.things, 2):
            assert (a.x - b.x) ** 2 + (a.y - b.y) ** 2 >= (a.radius + b.radius) ** 2


def test_things_that_do_not_fit_shrink_until_they_do() -> None:
    # This draw asks for four discs that hardly fit into the frame.
    scene = sample_scene(random.Random("pool detection 21684"), COMBINATIONS[0], Layout())
    assert len(scene.things) == 4
    for a, b in itertools.combinations(scene.things, 2):
        assert (a.x - b.x) ** 2 + (a.y - b.y) ** 2 >= (a.radius + b.radius) ** 2


# The words


def test_every_word_is_one_token_after_saving_and_loading(tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    for words_ in (tokenizer(), CLIPTokenizer.from_pretrained(tmp_path)):
        for word, entry in zip(words(), support(), strict=True):
            start, token, end = words_(word).input_ids
            assert words_.convert_ids_to_tokens(token) == entry
            assert (start, end) == (words_.bos_token_id, words_.eos_token_id)


def test_siglips_tokenizer_splits_a_third_of_the_words_and_no_anchor() -> None:
    saved = AutoTokenizer.from_pretrained(WEIGHTS / "tiny_siglip")
    assert saved.get_vocab() == siglip_tokenizer().get_vocab()
    vocabulary = of_transformers(saved, saved.model_max_length)
    split = [word for word in words() if vocabulary.word_id(word) is None]
    assert split == list(split_words())
    assert 0.3 < len(split) / len(words()) < 0.35
    assert not {anchor for dataset in DATASETS.values() for anchor in dataset.anchors} & {*split}
    whole = [f"▁{word}" for word in words() if word not in split]
    assert (WEIGHTS / "tiny_siglip/support.txt").read_text(encoding="utf-8").split() == whole
    assert vocabulary.strings(vocabulary.token_ids("Dotted café"))[:2] == ["▁dot", "ted"]
    assert vocabulary.strings(vocabulary.token_ids("é")) == ["▁", "<0xC3>", "<0xA9>"]


def test_captions_say_every_word_and_fit_the_context() -> None:
    said: Counter[str] = Counter()
    ids, pieces = tokenizer(), siglip_tokenizer()
    for i in range(6000):
        rng = random.Random(i)
        scene = sample_scene(rng, COMBINATIONS[i % 256], Layout(counts=(0.5, 0.5)))
        text = caption(rng, scene, others=0.5)
        said.update(text.split())
        if i % 20 == 0:
            assert len(ids(text).input_ids) <= CONTEXT
            assert len(pieces(text).input_ids) <= pieces.model_max_length
    assert set(said) == set(words())


def test_216_combinations_have_a_noun_and_40_are_concepts() -> None:
    concepts = [parse(name) for d in DATASETS.values() for name in d.concepts.values()]
    assert len(set(concepts)) == 40
    assert not set(concepts) & set(nouns())
    assert len(set(nouns().values())) == 216
    assert set(nouns()) | set(concepts) == set(COMBINATIONS)


def test_the_support_is_several_times_the_largest_width() -> None:
    assert (WEIGHTS / "support.txt").read_text(encoding="utf-8").split() == support()
    assert len(support()) > 3 * 96


def test_the_second_stable_diffusion_splits_a_third_of_the_words_and_no_chosen_anchor() -> None:
    vocabulary = CLIPTokenizer.from_pretrained(WEIGHTS / "tiny_sd_b" / "tokenizer")
    whole = {w for w in words() if len(vocabulary(w).input_ids) == 3}
    assert whole == set(whole_words())
    assert len(words()) - len(whole) == len(words()) // 3
    for path in (config_folder() / "dataset").glob("tiny_*[a-z].yaml"):  # not drawn
        assert set(yaml.safe_load(path.read_text(encoding="utf-8"))["anchors"]) <= whole
    listed = (WEIGHTS / "tiny_sd_b/support.txt").read_text(encoding="utf-8").split()
    read = {token for w in words() for token in vocabulary.tokenize(w)}
    assert set(listed) == read and len(listed) == len(read)


# The datasets


@pytest.mark.parametrize("name", DATASETS)
def test_no_attribute_alone_tells_a_concept_apart(name: str) -> None:
    concepts = [parse(description) for description in DATASETS[name].concepts.values()]
    assert [c.id for c in concepts] == list(DATASETS[name].concepts)
    for attribute in ("colour", "pattern", "shape"):
        shared = Counter(getattr(c, attribute) for c in concepts)
        assert min(shared.values()) >= 2
    pairs = Counter((c.colour, c.pattern) for c in concepts)
    assert (max(pairs.values()) >= 2) or name == "tiny_textures"


@pytest.mark.parametrize("name", DATASETS)
def test_anchors_are_unrelated_to_the_concepts(name: str) -> None:
    dataset = DATASETS[name]
    named = {noun: combination for combination, noun in nouns().items()}
    concepts = [parse(description) for description in dataset.concepts.values()]
    anchors = [named[anchor] for anchor in dataset.anchors]
    assert len(set(anchors)) == len(concepts) == 10
    for anchor, paired in zip(anchors, concepts, strict=True):
        assert not anchor.shares_attribute(paired)
        for concept in concepts:
            assert anchor.colour != concept.colour and anchor.shape != concept.shape
            # tiny_textures has concepts of all four patterns
            assert anchor.pattern != concept.pattern or name == "tiny_textures"


@pytest.mark.parametrize("name", DATASETS)
def test_images_come_from_their_number_alone(name: str) -> None:
    dataset = DATASETS[name]
    concept = list(dataset.concepts)[3]
    held_out, training = pixels(dataset, "held_out", concept), pixels(dataset, "training", concept)
    assert (len(training), len(held_out)) == (8, 20)
    assert len(set(held_out + training)) == 28
    assert dataset.held_out(concept)[7].load().tobytes() == held_out[7]


@pytest.mark.parametrize("name", DATASETS)
def test_an_image_holds_its_concept_once_and_no_other(name: str) -> None:
    dataset = DATASETS[name]
    for concept in dataset.concepts:
        for example in dataset.held_out(concept)[:3]:
            assert example.labels == (concept,)
            (x0, y0, x1, y1), image = example.boxes[0], example.load()
            assert 0 <= x0 < x1 <= image.width and 0 <= y0 < y1 <= image.height


# The models, loaded by the libraries' own loaders; a small sample of what MODEL_CARD.md records


def test_the_weights_are_small_half_precision_safetensors() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 49e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt", ".md"}


def test_the_model_card_says_what_was_measured() -> None:
    measured = json.loads((WEIGHTS / "quality.json").read_text(encoding="utf-8"))
    assert (WEIGHTS / "MODEL_CARD.md").read_text(encoding="utf-8") == model_card(measured)


EYES = {"judge": judge_eye, "classification": classifier_eye, "tiny_siglip": siglip_eye}


@pytest.mark.parametrize("model", EYES)
def test_judge_and_classifiers_reach_their_recorded_quality(
    model: str, recorded: dict[str, dict[str, quality.Measure]]
) -> None:
    eye = EYES[model](WEIGHTS / model)
    for dataset in DATASETS.values():
        measured = quality.ten_way(eye, dataset, images=4)
        assert measured["high"] >= recorded[model][f"ten-way {dataset.name}"]["low"]
    world = draw_pool("quality", 256, Layout(), 64)
    found = eye.best(quality.pictures(world.images_BCHW), quality.world_names())
    measured = quality.share(found == quality.main_things(world))
    assert measured["high"] >= recorded[model]["256-way"]["low"]


def test_the_detector_reaches_its_recorded_quality(
    recorded: dict[str, dict[str, quality.Measure]],
) -> None:
    folder = WEIGHTS / "detection"
    model = Owlv2ForObjectDetection.from_pretrained(folder, dtype=torch.float32).eval()
    processor = Owlv2Processor.from_pretrained(folder)
    for name in ("tiny_shapes", "tiny_scenes"):
        found, truths = quality.dataset_detections(model, processor, DATASETS[name], images=3)
        ap50, _ = quality.average_precision(found, truths)
        assert ap50 >= recorded["detection"][f"AP50 {name}"]["low"] - 0.1


@pytest.mark.parametrize("model", GENERATORS)
def test_a_generator_reaches_its_recorded_quality(
    model: str, recorded: dict[str, dict[str, quality.Measure]]
) -> None:
    pipeline = quality.load_generator(WEIGHTS / model)
    dataset = DATASETS["tiny_textures"]
    prompts = [quality.TEMPLATE.format(name) for name in dataset.concepts.values()]
    images = quality.generate(pipeline, prompts, steps=20)
    found = judge_eye(WEIGHTS / "judge").best(images, prompts)
    measured = quality.share(found == torch.arange(10))
    assert measured["high"] >= recorded[model]["ten-way tiny_textures"]["low"]


def test_prompts_are_pooled_at_their_end_token() -> None:
    model = open_clip.create_model_from_pretrained(f"local-dir:{WEIGHTS / 'classification'}")[0]
    ids = open_clip.get_tokenizer(f"local-dir:{WEIGHTS / 'classification'}")(["a photo of red"])
    assert ids.shape == (1, CONTEXT)
    assert ids.argmax().item() == 5 and ids[0, 5].item() == tokenizer().eos_token_id
    assert model.vocab_size == len(tokenizer())
    text = json.loads((WEIGHTS / "generation/text_encoder/config.json").read_text("utf-8"))
    assert text["eos_token_id"] == tokenizer().eos_token_id


# The builder


def build_classifier(folder: Path) -> bytes:
    recipe = {"classification": replace(QUICK["classification"], steps=6)}
    with Progress(disable=True) as progress:
        build = Build(folder / "weights", folder / "work", 0, recipe, progress, every=2)
        run(build, ["classification"])
    return (folder / "weights/classification/open_clip_model.safetensors").read_bytes()


KILLED = """
import os, sys
from pathlib import Path
import torch
import test_tinyworld
from vwtransfer.tinyworld_build import stage

torch.set_num_threads(1)
of = stage.Chance.of
def dying(name, seed, step):
    if step == 5:
        os.kill(os.getpid(), 9)
    return of(name, seed, step)
stage.Chance.of = dying
test_tinyworld.build_classifier(Path(sys.argv[1]))
"""


@pytest.mark.integration
def test_a_killed_build_continues_to_the_same_bits(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = build_classifier(tmp_path / "whole")
        command = [sys.executable, "-c", KILLED, str(tmp_path / "killed")]
        killed = subprocess.run(command, cwd=Path(__file__).parent)
        assert killed.returncode == -signal.SIGKILL
        assert (tmp_path / "killed/work/classification.pt").exists()
        assert not (tmp_path / "killed/weights/classification").exists()
        assert build_classifier(tmp_path / "killed") == whole
    finally:
        torch.set_num_threads(threads)


def test_a_stage_begun_on_other_terms_is_refused(tmp_path: Path) -> None:
    with Progress(disable=True) as progress:
        Build(tmp_path, tmp_path, 0, QUICK, progress).begin("judge")
        with pytest.raises(UserError, match=r"judge\.json"):
            Build(tmp_path, tmp_path, 1, QUICK, progress).begin("judge")
