"""What holds for all tests."""

import os

# a study reports to wandb unless it is told not to; tests/tracking tells it to
os.environ.setdefault("WANDB_MODE", "disabled")
