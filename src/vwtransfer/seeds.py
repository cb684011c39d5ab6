"""Random numbers that depend on names alone, never on what else is computed beside them."""

import hashlib

import torch


def generator(*names: object) -> torch.Generator:
    """A CPU generator whose stream is fixed by `names`, for instance a word's key and a step.

    Numbers are drawn on the CPU whatever device they are used on, so that a word trained on
    another device sees the same noise.
    """
    digest = hashlib.sha256("\0".join(map(str, names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
