"""A word from a file, in the space of one of the study's models; for apply and export."""

from collections.abc import Sequence

from torch import Tensor

from vwtransfer.config import Config
from vwtransfer.conversion.converter import Converter
from vwtransfer.errors import UserError, nearest
from vwtransfer.models.checkpoints import MissingCheckpointError
from vwtransfer.models.suite import Suite, build_part
from vwtransfer.transfer import Transfer
from vwtransfer.words.formats import LoadedWord, read


def word_of(config: Config) -> LoadedWord:
    """The word that `word` names.

    Raises:
        UserError: none is named, or see `words.formats.read`.
    """
    if len(config.word) != 1:
        raise UserError(f"action={config.action}: name the file of a word with word=PATH.")
    return read(config.word[0])


def chosen_model(config: Config, key: str, usual: Sequence[str], all_models: Sequence[str]) -> str:
    """The model that `source` or `target` names; where it is null, the only usual one.

    Args:
        config: of the study.
        key: "source" or "target".
        usual: the models that need not be named if there is just one of them.
        all_models: the models that may be named.

    Raises:
        UserError: it is none of them, or has to be named.
    """
    given: str | None = getattr(config, key)
    if given is None and len(usual) == 1:
        return usual[0]
    if given is None:
        raise UserError(
            f"action={config.action}: name one model with {key}=NAME. {nearest('', all_models)}"
        )
    if given not in all_models:
        raise UserError(f"{key}={given}: not for action={config.action}. {nearest('', all_models)}")
    return given


def transfer_word(
    config: Config, suite: Suite, word: LoadedWord, target: str
) -> tuple[str, Tensor]:
    """The model that a word is of, and its vectors [K, D] in the space of another.

    It is mapped by the study's transfer, unless it is of that model itself.

    Raises:
        UserError: see `source_of`.
    """
    source = source_of(config, suite, word)
    if source == target:
        return source, word.vectors_KD
    here, there = suite.models[source].text, suite.models[target].text
    method: Transfer = build_part(config.transfer.node, "transfer")
    converter = Converter(here, there, method, config.transfer.node)
    template = converter.template_for(len(word.vectors_KD))
    return source, converter.convert(word.vectors_KD[None], template, [word.anchor]).vectors_NKD[0]


def source_of(config: Config, suite: Suite, word: LoadedWord) -> str:
    """The model that a word is of.

    A word of this package is of the model beside whose embedding table it was trained: the one of
    the name in its file, or else another one of its task. Other tools' files do not say it: it is
    `source`, or the only generation model.

    Raises:
        UserError: no model has the word's embedding table or width.
    """
    if word.table is not None:
        return _by_table(config, suite, word, word.table)
    generators = suite.of_task("generation")
    name = chosen_model(config, "source", generators, list(suite.models))
    width, own = word.vectors_KD.shape[1], suite.models[name].text.width
    if width != own:
        raise UserError(
            f"word={config.word[0]}: its vectors have width {width}, and model.{name} reads {own}. "
            "Name the model that it was trained in with source=NAME."
        )
    return name


def _by_table(config: Config, suite: Suite, word: LoadedWord, table: str) -> str:
    if config.source is not None:
        names = [config.source]
    else:
        by_name = [name for name in suite.models if name == word.model]
        names = list(dict.fromkeys([*by_name, *suite.of_task(word.task)]))
    tables = {}
    for name in names:
        try:
            tables[name] = suite.models[name].text.identity
        except MissingCheckpointError:
            if name == names[0]:
                raise
            continue  # none of the models that this needs
        if tables[name] == table:
            return name
    others = ", ".join(f"that of model.{name} is {own}" for name, own in tables.items())
    raise UserError(
        f"word={config.word[0]}: was trained in {word.model} beside the embedding table {table}; "
        f"{others or 'the study has no such model'}. Choose its own with model/{word.task}=NAME."
    )
