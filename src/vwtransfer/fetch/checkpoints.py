"""The checkpoints of a suite, by the hub's own client, into its own cache."""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import torch

from vwtransfer.config import Config
from vwtransfer.errors import UserError, quoted
from vwtransfer.fetch.session import Session
from vwtransfer.models.checkpoints import Alternatives, Checkpoint, offline
from vwtransfer.models.suite import build

SMALL = ("*.json", "*.txt", "*.model")  # configs and vocabularies, some of which are optional


def fetch(config: Config, session: Session) -> None:
    """Brings what is not here of the study's models, its judge and its safety checker.

    Raises:
        UserError: the hub does not answer, or does not hand one out.
    """
    suite = build(config, torch.device("cpu"))
    parts = [*suite.models.values(), suite.judge, suite.safety]
    stated = [getattr(each, "checkpoint", None) for each in parts]
    found = [each for each in stated if isinstance(each, Checkpoint)]
    lacking = {
        (each.source, each.revision): each
        for each in found
        if each.missing() and not Path(each.source).is_dir()
    }
    if not lacking:
        session.console.print("checkpoints: all are here")
        return
    if offline():
        raise UserError(
            f"HF_HUB_OFFLINE is set, and {len(lacking)} checkpoints are not here, such as "
            f"{next(iter(lacking.values())).source}. Unset it to have the hub asked."
        )
    for checkpoint in lacking.values():
        _bring(checkpoint, session)


def _bring(checkpoint: Checkpoint, session: Session) -> None:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    source, revision = checkpoint.source, checkpoint.revision
    where = f"{checkpoint.key}.checkpoint={source}"
    try:
        info = HfApi().model_info(source, revision=revision, files_metadata=True)
        sizes = {each.rfilename: each.size or 0 for each in info.siblings or ()}
        names = needed(checkpoint.files, list(sizes))
        size = sum(sizes[name] for name in names)
        if session.agreed(f"{source}: {len(names)} files", size, Path(HF_HUB_CACHE)):
            snapshot_download(
                source,
                revision=revision,
                allow_patterns=names,
                max_workers=session.settings.parallel,
            )
    except GatedRepoError as error:
        raise UserError(
            f"{where}: its owner asks for your consent. Give it at https://huggingface.co/{source} "
            "and log in with: hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{where}: the hub has no such repository that you may see. If it is private, log in "
            "with: hf auth login"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise UserError(f"{where}: cannot be fetched ({quoted(error)}).") from error


def needed(files: Sequence[Alternatives], there: Sequence[str]) -> list[str]:
    """The files of a repository that loading reads.

    Args:
        files: each by its usual names.
        there: all of the repository.
    """
    names = {name for name in there if any(fnmatch(name, pattern) for pattern in SMALL)}
    for usual in files:
        held = [name for name in usual if name in there]
        for name in sorted(held, key=lambda name: ".safetensors" not in name)[:1]:
            names.add(name)
            if name.endswith(".index.json"):
                stem, kind = name.removesuffix(".index.json").rsplit(".", 1)
                names |= {each for each in there if fnmatch(each, f"{stem}-*-of-*.{kind}")}
    return sorted(names)
