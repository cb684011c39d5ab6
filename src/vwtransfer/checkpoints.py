"""Loading frozen checkpoints by their libraries' own methods, with errors that teach."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vwtransfer.errors import UserError


@contextmanager
def loading(what: str, checkpoint: str) -> Iterator[None]:
    """Turns what the libraries raise on a bad checkpoint into one clear line.

    Raises:
        UserError: a file is missing, cut off, or holds the weights of another architecture.
    """
    _hush()
    where = f"{what}.checkpoint={checkpoint}"
    if _is_path(checkpoint) and not Path(checkpoint).is_dir():
        raise UserError(f"{where}: there is no such folder")
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        name = type(error).__name__
        if not isinstance(error, OSError | RuntimeError | ValueError | KeyError) and (
            name != "SafetensorError"
        ):
            raise
        raise UserError(f"{where} does not load: {_reason(name, str(error))}") from error


def _hush() -> None:
    """No bars of the libraries' own between ours."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


def refuse_incomplete(info: dict[str, Any]) -> None:
    """Refuses a model whose weights were not all in the checkpoint.

    Args:
        info: what `from_pretrained(..., output_loading_info=True)` tells beside the model.
    """
    missing = sorted(map(str, info["missing_keys"])) + sorted(map(str, info["mismatched_keys"]))
    if missing:
        raise ValueError(
            f"weights of another architecture ({len(missing)} tensors missing or of another "
            f"shape, such as {missing[0]})"
        )


def freeze(module: torch.nn.Module, device: torch.device) -> None:
    """Evaluation mode on `device`, no gradient to any weight."""
    module.eval().requires_grad_(False).to(device)


def _is_path(checkpoint: str) -> bool:
    return checkpoint.startswith(("/", "./", "../", "~")) or checkpoint.count("/") > 1


def _reason(name: str, message: str) -> str:
    if name == "SafetensorError":
        return f"a weight file is cut off or damaged ({message})"
    if "size mismatch" in message or ("shape" in message and "mismatch" in message):
        return f"weights of another architecture ({_first_line(message)})"
    return _first_line(message) or name


def _first_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]
