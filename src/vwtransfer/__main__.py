"""`python -m vwtransfer` is `vwtransfer`."""

from vwtransfer.main import main

if __name__ == "__main__":
    main()
