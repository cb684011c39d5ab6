"""Finds the photos and concepts that a JSON of boxes means, however its exporter spelled them."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import unquote

_PREFIX = re.compile(r"^[0-9a-f]{6,}-")  # what some exporters put before a file's name


def _name(file: str) -> str:
    return file.rpartition("/")[2]


def _loose(file: str) -> str:
    """Without what systems and exporters spell differently: slashes, escapes, case, accents."""
    plain = unquote(file).replace("\\", "/").removeprefix("./")
    return unicodedata.normalize("NFC", plain).casefold()


def _loose_name(file: str) -> str:
    return re.split("[/=]", _loose(file))[-1]


def _plain_name(file: str) -> str:
    """With underscores for spaces, as servers call what is uploaded."""
    return re.sub("[ +]", "_", _loose_name(file))


def _bare_name(file: str) -> str:
    return _PREFIX.sub("", _plain_name(file))


# of a name in the JSON and of a photo's path; the strictest first
_KEYS: tuple[tuple[Callable[[str], str], Callable[[str], str]], ...] = (
    (str, str),
    (_name, _name),
    (_loose, _loose),
    (_loose_name, _loose_name),
    (_plain_name, _plain_name),
    (_bare_name, _plain_name),
)


def photos_named(listed: Iterable[str], files: Sequence[str]) -> dict[str, str]:
    """Photo -> the name in the JSON that is its path, or that means no other photo.

    Args:
        listed: names in the JSON.
        files: paths of photos in their folder.
    """
    listed, found = list(listed), dict[str, str]()
    for of_name, of_file in _KEYS:
        names, paths = _by_key(of_name, listed), _by_key(of_file, files)
        taken = set(found.values())
        for key, same in paths.items():
            meant = names.get(key, [])
            if len(same) == len(meant) == 1 and same[0] not in found and meant[0] not in taken:
                found[same[0]] = meant[0]
    return found


def concepts_named(categories: Sequence[str], concepts: Mapping[str, str]) -> dict[str, str]:
    """Category -> the concept that it is, by its own name or that in prompts.

    Case, underscores and hyphens do not matter where they leave one concept.

    Args:
        categories: names in the JSON.
        concepts: concept -> its name in prompts.
    """
    names = list(concepts.values())
    exact = {name: concept for concept, name in concepts.items() if names.count(name) == 1}
    exact |= {concept: concept for concept in concepts}
    meant: dict[str, set[str]] = {}
    for concept, name in concepts.items():
        for key in (_spelled(concept), _spelled(name)):
            meant.setdefault(key, set()).add(concept)
    found = {}
    for category in categories:
        same = {exact[category]} if category in exact else meant.get(_spelled(category), set())
        if len(same) == 1:
            (found[category],) = same
    return found


def _spelled(name: str) -> str:
    return " ".join(re.split(r"[\s_-]+", _loose(name))).strip()


def _by_key(key: Callable[[str], str], values: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for value in values:
        found.setdefault(key(value), []).append(value)
    return found
