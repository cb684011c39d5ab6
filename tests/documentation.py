"""What the pages of the documentation hold: commands, Python, files, links."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / name for name in ("launch/README.md", "benchmarks/README.md", "conf/local/README.md")),
]
COMMAND = re.compile(
    r"^    .*?(?<![/\w])vwtransfer +((?:-|\$\w|[\w/.@~+]+=)[^#;\n]*)", re.MULTILINE
)
VARIABLE = re.compile(r"^    \$ (\w+)=\"([^\"]*)\"", re.MULTILINE)
FENCED = re.compile(r"```python\n(.*?)```", re.DOTALL)
INDENTED = re.compile(r"(?:^    .*\n|^\n(?=    ))+", re.MULTILINE)
FILE = re.compile(r"# ((?:my_\w+/)*\w+\.(?:yaml|py))\n")


@dataclass(frozen=True)
class Command:
    """A command of a code block.

    Attributes:
        page: that shows it.
        arguments: of `vwtransfer`.
    """

    page: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.arguments)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands() -> list[Command]:
    """Each command of the pages once; "..." and what stands behind # or ; are left out."""
    found = {}
    for page in PAGES:
        text = text_of(page).replace("\\\n", " ")
        for name, value in VARIABLE.findall(text):
            text = text.replace(f"${name}", value.replace("\n", " "))
        for command in COMMAND.findall(text):
            arguments = tuple(each for each in shlex.split(command) if each != "...")
            found.setdefault(arguments, Command(page.name, arguments))
    return list(found.values())


def python_blocks(page: str) -> list[str]:
    """The fenced blocks of Python of a page of docs/."""
    return FENCED.findall(text_of(ROOT / "docs" / page))


def files(page: Path) -> Iterator[tuple[str, str]]:
    """The files of a reader's that a page writes out: a block that begins with "# my_conf/..."."""
    for block in INDENTED.findall(text_of(page)):
        lines = re.sub(r"^    ", "", block, flags=re.MULTILINE)
        starts = [*FILE.finditer(lines)]
        for start, after in zip(starts, [*starts[1:], None], strict=True):
            body = lines[start.end() : after.start() if after else len(lines)]
            yield start[1], re.split(r"^vwtransfer ", body, maxsplit=1, flags=re.MULTILINE)[0]
