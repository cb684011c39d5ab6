"""The device a study runs on."""

import torch

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
