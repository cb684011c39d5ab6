"""The tiny Grounding DINO: its tokenizer splits words, and it finds what is named."""

import json
from pathlib import Path
from random import Random

import torch
from transformers import AutoTokenizer, GroundingDinoProcessor, MMGroundingDinoForObjectDetection

import vwtransfer.tinyworld
from vwtransfer.tinyworld.lexicon import words
from vwtransfer.tinyworld.world import FRAME, Layout
from vwtransfer.tinyworld_build.grounding import GroundingHeads, build_grounding, grounding_loss
from vwtransfer.tinyworld_build.grounding_prompts import others
from vwtransfer.tinyworld_build.grounding_quality import detections
from vwtransfer.tinyworld_build.pool import draw_pool
from vwtransfer.tinyworld_build.quality import DATASETS, average_precision, datasets_of
from vwtransfer.tinyworld_build.stage import Chance
from vwtransfer.tinyworld_build.wordpiece import FIXED, bert_tokenizer

WEIGHTS = Path(vwtransfer.tinyworld.__file__).parent / "weights"
FOLDER = WEIGHTS / "tiny_grounding_dino"


def test_a_third_of_the_words_are_split_and_the_special_ids_are_berts() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    assert tokenizer.get_vocab() == bert_tokenizer(64).get_vocab()
    split = [word for word in words() if len(tokenizer.tokenize(word)) > 1]
    assert 0.25 < len(split) / len(words()) < 0.4
    assert {token: tokenizer.convert_tokens_to_ids(token) for token in FIXED} == FIXED
    assert not any(tokenizer.unk_token_id in tokenizer(word).input_ids for word in words())


def test_the_model_reaches_its_recorded_quality() -> None:
    recorded = json.loads((WEIGHTS / "quality.json").read_text("utf-8"))["models"]
    model = MMGroundingDinoForObjectDetection.from_pretrained(FOLDER, dtype=torch.float32).eval()
    processor = GroundingDinoProcessor.from_pretrained(FOLDER)
    dataset = next(d for d in datasets_of(DATASETS) if d.name == "tiny_small")
    examples = [e for c in dataset.concepts for e in dataset.held_out(c)[:2]]
    order = list(dataset.concepts)
    truths = [
        {
            "boxes": torch.tensor(e.boxes),
            "labels": torch.tensor([order.index(label) for label in e.labels]),
        }
        for e in examples
    ]
    names = list(dataset.concepts.values())
    found = list(detections(model, processor, [e.load() for e in examples], names))
    ap50, _ = average_precision(found, truths)
    assert ap50 >= recorded["tiny_grounding_dino"]["AP50 tiny_small"]["low"] - 0.05


def test_every_weight_that_decides_a_detection_learns() -> None:
    model, heads = build_grounding(0), GroundingHeads()
    pool = draw_pool("test", 8, Layout(), FRAME)
    loss = grounding_loss(model, heads, pool, bert_tokenizer(64), 4)
    losses = loss(Chance.of("grounding", 0, 0))
    total = torch.stack(list(losses.values())).sum()
    assert total.isfinite()
    total.backward()
    still = {name for name, p in model.named_parameters() if p.grad is None}
    assert all("hidden_states_norms" in n or "token_type" in n for n in still), still


def test_what_is_not_there_is_asked_for_beside_what_is() -> None:
    scene = draw_pool("test", 1, Layout(), FRAME).scenes[0]
    there = [thing.combination for thing in scene.things]
    found = others(Random(0), there, 6)
    assert len(set(found)) == 6 and not set(found) & set(there)
