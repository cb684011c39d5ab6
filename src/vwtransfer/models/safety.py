"""The safety checker of Stable Diffusion (appendix A of the paper): flags unsafe generations."""

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from vwtransfer.config import models as config
from vwtransfer.models.checkpoints import MissingCheckpointError, weights
from vwtransfer.models.frozen import FrozenCheckpoint


class SafetyChecker(FrozenCheckpoint):
    """Flags images; it neither hides nor changes them.

    Args:
        settings: see `config.models.SafetyChecker`; of a StableDiffusionSafetyChecker.
        device: where it runs.
    """

    settings: config.SafetyChecker
    name = "safety"
    files = (
        ("config.json",),
        ("preprocessor_config.json",),
        ("pytorch_model.bin", *weights("model")),  # as it was published
    )

    @cached_property
    def _processor(self) -> Any:
        from transformers import CLIPImageProcessor

        return self.checkpoint.read(CLIPImageProcessor)

    @cached_property
    def model(self) -> Any:
        """The StableDiffusionSafetyChecker, frozen."""
        from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker

        # the class declares no other attention than this one
        return self.pretrained(StableDiffusionSafetyChecker, "eager")

    @cached_property
    def _there(self) -> bool:
        try:
            _ = self._processor, self.model
        except MissingCheckpointError as error:
            logging.getLogger(__name__).warning("images are not checked for safety: %s", error)
            return False
        return True

    def flags(self, images: Sequence[Image.Image]) -> list[bool] | None:
        """Which images are unsafe; None where the checker's weights are not on this machine.

        Raises:
            UserError: its weights are damaged.
        """
        if not self._there:
            return None
        pixels = self._processor(list(images), return_tensors="pt")["pixel_values"]
        pixels = pixels.to(self.device, self.dtype)
        shown = np.zeros((len(images), 1, 1, 3))  # what it would blacken
        _, unsafe = self.model(clip_input=pixels, images=shown)
        return [bool(flag) for flag in unsafe]
