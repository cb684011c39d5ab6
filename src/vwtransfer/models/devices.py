"""The device a study runs on, and the threads."""

import os

import torch
from threadpoolctl import threadpool_limits

from vwtransfer.errors import UserError


def torch_device(name: str) -> torch.device:
    """The device that `device=` names; auto takes the GPU where there is one.

    Raises:
        UserError: this machine has no such GPU.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UserError(
            f"device={name}: this machine has {count or 'no'} GPU"
            f"{'s' if count > 1 else ''} that torch can use. Valid: auto, cpu"
            f"{''.join(f', cuda:{i}' for i in range(count))}."
        )
    return device


def use_threads(count: int | None) -> None:
    """Holds torch, numpy, scipy and scikit-learn to so many threads; None: leaves them theirs."""
    if count is None:
        return
    torch.set_num_threads(count)
    threadpool_limits(count)
    for library in ("OMP", "OPENBLAS", "MKL"):  # what is loaded later
        os.environ[f"{library}_NUM_THREADS"] = str(count)


def device_name(device: torch.device) -> str:
    """What a device is: the GPU's name, or the kind of device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was told; for clocks."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def still_computes(device: torch.device) -> bool:
    """Whether a device does: after some errors a process can never use its GPU again."""
    try:
        return bool((torch.ones(1, device=device) + 1).item() == 2)
    except RuntimeError:
        return False
