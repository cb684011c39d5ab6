"""`python -m vwtransfer` is `vwtransfer`."""

import sys
from pathlib import Path

# a file of the current folder is not to be imported in the place of a library
if not sys.flags.safe_path and sys.path[0] in ("", str(Path.cwd())):
    del sys.path[0]

from vwtransfer.main import main

if __name__ == "__main__":
    main()
