"""What a person can mend: one clear line instead of a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Input that cannot be used.

    Its text is one line: what was wrong, where (config key or file), the value, the nearest
    valid ones and what to do. The entry point prints it and exits with status 2.
    """


def quoted(text: object, most: int = 200) -> str:
    """What comes out of a file as a message may show it: on one line, printable and short."""
    line = "".join(letter if letter.isprintable() else " " for letter in str(text)[: most + 1])
    return line if len(line) <= most else f"{line[:most]}..."


def nearest(name: str, valid: Iterable[str]) -> str:
    """What to say after an unknown `name`: the one that was probably meant, and the valid ones.

    >>> nearest("tiny_shape", ["tiny_shapes", "tiny_small"])
    "Did you mean 'tiny_shapes'? Valid: tiny_shapes, tiny_small."
    """
    names = list(valid)
    if not names:
        return "There are none to choose from."
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    guess = f"Did you mean '{close[0]}'? " if close else ""
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"{guess}Valid: {shown}."


_SHOWN = 20
