"""`threads=` holds for every library that computes."""

import json
import os
import subprocess
import sys

SCRIPT = """
import json
import numpy as np
from threadpoolctl import threadpool_info
from vwtransfer.models.devices import use_threads

use_threads(1)
import scipy.linalg, sklearn.linear_model, torch  # some of them bring a library of their own
scipy.linalg.svd(np.eye(300)), torch.eye(300) @ torch.eye(300)
print(json.dumps({pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}))
"""


def test_each_library_is_held_to_the_threads_asked_for() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, text=True, capture_output=True, check=True
    )
    found = json.loads(done.stdout)
    assert any("openblas" in path for path in found)
    assert set(found.values()) == {1}, found
