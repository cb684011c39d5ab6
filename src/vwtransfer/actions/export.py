"""action=export: one word, as other tools load it, in the space of a generation model."""

from vwtransfer.actions.transfer_word import chosen_model, transfer_word, word_of
from vwtransfer.config import Config
from vwtransfer.files import file_safe
from vwtransfer.models.devices import torch_device, use_threads
from vwtransfer.models.suite import build
from vwtransfer.progress import terminal
from vwtransfer.words.formats import write


def export(config: Config) -> None:
    """Writes a word in the space of the model that `target` names, or of the only generator.

    Raises:
        UserError: there is no such word, or it cannot be brought into that space.
    """
    word = word_of(config)
    generators = config.model.of_task("generation")
    target = chosen_model(config, "target", generators, list(config.model.models))
    use_threads(config.threads)
    suite = build(config, torch_device(config.device))
    source, vectors_KD = transfer_word(config, suite, word, target)
    encoders = suite.models[target].text.encoders
    widths = {name: encoder.width for name, encoder in encoders.items()}
    form = config.format or "diffusers"
    origin = target if source == target else f"{source}_to_{target}"
    name = file_safe(f"{word.name}-{config.word[0].stem}")
    folder = config.folder / "exported" / form / origin / name
    path = write(form, vectors_KD, word.name, folder, widths)
    terminal().print(
        f"{len(vectors_KD)} vectors of width {vectors_KD.shape[1]}: {path}", soft_wrap=True
    )
