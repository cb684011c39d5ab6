"""`python -m vwtransfer` is `vwtransfer`."""

import sys
from pathlib import Path

if sys.path[0] in ("", str(Path.cwd())):  # a file there is not to take a library's place
    sys.path.append(sys.path.pop(0))

from vwtransfer.main import main

if __name__ == "__main__":
    main()
