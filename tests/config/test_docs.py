"""What the documentation shows is there: commands, keys, choices, files, code, links, pictures.

The commands that the miniature models can run are run by test_docs_run.py.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from PIL import Image

import documentation
from documentation import PAGES, ROOT, name_of, python_blocks, text_of
from vwtransfer.config.composition import compose, composed, config_folder
from vwtransfer.config.photo_folders import anchors_for, concepts_in
from vwtransfer.leaderboard.splits import cells_of_split
from vwtransfer.main import ACTIONS
from vwtransfer.models.suite import build, build_part
from vwtransfer.words.cells import cells

COMMANDS = documentation.commands()
FLAGS = ("--help", "--cfg", "job", "-m")
# what composing costs nothing more for: their keys are looked up, and their values are any text
TEXTS = (
    *("name", "word", "images", "format", "source", "target", "status.watch", "archive.merge"),
    *("benchmark.page", "benchmark.words", "cluster.partition", "cluster.max_running_jobs"),
    *("wandb.entity", "fetch.parts", "fetch.dry_run", "fetch.imagenet.copy"),
)


def is_composed(argument: str) -> bool:
    """Whether an argument makes a difference to composing; convert composes models by name."""
    key, _, value = argument.partition("=")
    if key == "action":
        return value in ("convert", "benchmark")
    return argument not in FLAGS and key not in TEXTS


def shown() -> list[tuple[str, ...]]:
    """What is composed: of commands of which one has all arguments of another, the longer one."""
    converted = ("source", "target")
    each_once = dict.fromkeys(
        tuple(
            a
            for a in command.arguments
            if is_composed(a)
            or ("action=convert" in command.arguments and a.partition("=")[0] in converted)
        )
        for command in COMMANDS
    )
    sets = [frozenset(each) for each in each_once]
    return [each for each in each_once if not any(set(each) < other for other in sets)]


SHOWN = shown()


@pytest.fixture(scope="module", autouse=True)
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the photos that the documentation speaks of, and the files that it shows."""
    folder = tmp_path_factory.mktemp("reader")
    for photo in ("my_photos/0.jpg", "photos/red_mug/0.jpg"):
        (folder / photo).parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / photo)
    (folder / "my_tokens.txt").write_text("cat</w>\ndog</w>\n", encoding="utf-8")
    documentation.write_files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        yield folder


def test_commands_are_found_and_their_keys_and_actions_exist() -> None:
    assert len(SHOWN) > 10
    keys = {a.partition("=")[0] for each in COMMANDS for a in each.arguments}
    config = composed([])
    for key in TEXTS:
        OmegaConf.update(config, key, None)  # refuses a key that is not there
    assert set(TEXTS) <= keys
    shown_actions = {
        a.removeprefix("action=") for c in COMMANDS for a in c.arguments if "action=" in a
    }
    assert shown_actions <= set(ACTIONS)
    in_tables = {"benchmark", "photos", "retry", "table", "work"}
    assert set(ACTIONS) - shown_actions <= in_tables


@pytest.mark.parametrize("overrides", SHOWN, ids=" ".join)
def test_what_the_documentation_shows_passes_all_that_is_checked_before_weights_are_read(
    overrides: tuple[str, ...],
) -> None:
    given = list(overrides)
    own = None
    if "--config-dir" in given:
        given.remove("--config-dir")
        given.remove("my_conf")
        own = Path("my_conf")
    first = []
    for each in OverridesParser.create().parse_overrides(given):
        sweep = each.sweep_string_iterator() if each.is_sweep_override() else None
        first.append(f"{each.get_key_element()}={next(sweep)}" if sweep else str(each.input_line))
    config = compose(first, own)
    assert list(build(config, torch.device("cpu")).models) == list(config.model.models)
    assert cells_of_split(config) if config.action == "benchmark" else cells(config)
    for node in (config.transfer.node, *config.benchmark.methods.values()):
        assert build_part(node, "transfer").name == node["name"]


def test_every_choice_and_key_that_a_sentence_names_exists() -> None:
    own = {path.stem for path in Path("my_conf").rglob("*.yaml")}
    config = composed(["wandb=default"])
    checked = 0
    for page in (p for p in PAGES if "lab_notes" not in p.parts):
        for span in re.findall(r"`([^`\n]+)`", text_of(page)):
            for key, values in re.findall(r"(?:^|\s)([a-z_/]+)=\[?([a-z0-9_,]+)(?![\w*])", span):
                if not (config_folder() / key).is_dir():
                    continue
                for value in set(values.split(",")) - own - {"null", "all", "mine"}:
                    found = config_folder() / key / f"{value}.yaml"
                    assert found.is_file() or key == "task", f"{name_of(page)}: {span}"
                    checked += 1
            group, _, rest = span.partition(".")
            if group in ("cluster", "wandb", "trainer", "evaluation", "submit", "status", "cache"):
                key = re.match(r"[\w.]*", rest)[0]  # type: ignore[index]
                if key not in ("yaml", ""):
                    assert key in config[group], f"{name_of(page)}: {span}"
                    checked += 1
    assert checked > 50


def test_the_suite_that_the_documentation_writes_out_is_the_one_that_is_composed() -> None:
    model = compose(["model=mine"], Path("my_conf")).model
    assert model.name == "mine"
    assert {name: node["checkpoint"] for name, node in model.models.items()} == {
        "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "sd15_finetuned": "/data/my_sd15",
        "owlv2_base": "google/owlv2-base-patch16-ensemble",
        "laion_clip_b32": "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    }
    assert model.judge is not None
    assert model.safety is None and model.dino is None
    assert len(model.fidelity_prompts) == 2


@pytest.mark.integration
def test_a_folder_that_open_clip_writes_is_read_with_the_tokens_that_a_list_names(
    reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip

    monkeypatch.chdir(tmp_path)
    vision = {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}
    settings = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "a-small-one", settings)
    torch.save(open_clip.create_model("a-small-one").state_dict(), "epoch_10.pt")
    (code,) = python_blocks("docs/models.md")
    exec(code.replace("ViT-B-32", "a-small-one"), {})
    wanted = ("open_clip_config.json", "open_clip_model.safetensors")
    assert all(f"`{name}`" in text_of(ROOT / "docs/models.md") for name in wanted)
    assert {path.name for path in Path("my_clip").iterdir()} >= set(wanted)
    keys = {"checkpoint": "my_clip", "support": reader / "my_tokens.txt", "dtype": "float32"}
    given = [f"model.laion_clip_b32.{key}={value}" for key, value in keys.items()]
    config = compose(["model=tiny", "model/classification=laion_clip_b32", *given])
    space = build(config, torch.device("cpu")).models["laion_clip_b32"].text
    assert {name: list(each) for name, each in space.eligible.items()} == {
        "text": ["cat</w>", "dog</w>"]
    }
    assert space.encode_text(["a photo of a cat"]).pooled_NE.shape == (1, 8)


CODE = {
    "README.md": {"outputs/demo/results.parquet": "kept/tiny_section4/results.parquet"},
    "docs/report.md": {"outputs/demo": "kept/tiny_section4/results.parquet"},
    "docs/reproduce.md": {"outputs/section4": "kept/tiny_section4/results.parquet"},
    "docs/tiny_words.md": {},
}
"""Pages whose Python is run here, on what; models.md's is above, others' in test_docs_run.py."""


@pytest.mark.integration
@pytest.mark.parametrize("page", CODE)
def test_python_of_the_documentation_runs(page: str) -> None:
    if not Path("kept").exists():
        Path("kept").symlink_to(ROOT / "kept")
    for code in python_blocks(page):
        for former, path in CODE[page].items():
            code = code.replace(f'"{former}"', f'"{path}"')
        values: dict[str, object] = {}
        exec(code, values)
        assert len(values) > 2


def test_all_python_of_the_documentation_is_run_somewhere() -> None:
    elsewhere = {
        f"docs/{name}.md" for name in ("datasets", "models", "photos", "share", "use_words")
    }
    pages = {name_of(page) for page in PAGES if python_blocks(name_of(page))}
    assert pages == set(CODE) | elsewhere


def test_links_between_pages_and_to_files_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        for link in documentation.links(page):
            file, _, place = link.partition("#")
            target = (page.parent / file).resolve() if file else page
            if not target.exists() or (place and place not in documentation.anchors(target)):
                broken.append(f"{name_of(page)}: {link}")
    assert not broken


def test_every_page_and_picture_of_the_documentation_is_linked() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in documentation.links(page)
    }
    files = {path for path in (ROOT / "docs").iterdir() if path.is_file()}
    assert {path.name for path in files - linked} == set()


def test_the_readme_is_read_in_a_minute() -> None:
    assert len(text_of(ROOT / "README.md").splitlines()) <= 100


def test_the_sentences_about_folders_of_photos_are_true() -> None:
    for name in ("dog", "dog2", "30_cat", "red_mug"):
        photo = Path("many", name, "0.jpg")
        photo.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(photo)
    named = concepts_in(Path("many"))
    assert named == {"30_cat": "cat", "dog": "dog", "dog2": "dog", "red_mug": "red mug"}
    assert anchors_for(named, "mug") == ["mug"]
