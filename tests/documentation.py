"""What the pages of the documentation hold: commands, Python, a reader's files, links."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / name for name in ("launch/README.md", "benchmarks/README.md", "conf/local/README.md")),
]
_COMMAND = re.compile(
    r"^    .*?(?<![/\w])vwtransfer +((?:-|\$\w|[\w/.@~+]+=)[^#;&\n]*)", re.MULTILINE
)
_INLINE = re.compile(r"`vwtransfer +((?:-|[\w/.@~+]+=)[^`]*)`")
_VARIABLE = re.compile(r"^    \$ (\w+)=\"([^\"]*)\"", re.MULTILINE)
_FENCED = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
_INDENTED = re.compile(r"^    .*\n(?:(?:    .*)?\n)*", re.MULTILINE)
_FILE = re.compile(r"^# ((?:\w+/)*\w+\.(?:yaml|py))\n", re.MULTILINE)
_TERMINAL = re.compile(r"^vwtransfer .*\Z", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Command:
    """`vwtransfer ARGUMENTS` as a page shows it."""

    page: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.arguments)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def commands(of: str | None = None) -> list[Command]:
    """Each command of the pages, or of one, once; "..." and what follows # ; or & are left out."""
    found: dict[tuple[str, ...], Command] = {}
    for page in PAGES if of is None else [ROOT / of]:
        if "lab_notes" in page.parts or page.name.startswith("leaderboard"):
            continue  # records of what was typed, by the names of that time
        text = text_of(page).replace("\\\n", " ")
        for name, value in _VARIABLE.findall(text):
            text = text.replace(f"${name}", value.replace("\n", " "))
        for command in (*_COMMAND.findall(text), *_INLINE.findall(text)):
            arguments = tuple(each for each in shlex.split(command) if each != "...")
            found.setdefault(arguments, Command(name_of(page), arguments))
    return list(found.values())


def python_blocks(page: str) -> list[str]:
    """The fenced blocks of Python of a page, and the indented ones that begin with an import."""
    text = text_of(ROOT / page)
    indented = map(dedent, _INDENTED.findall(_FENCED.sub("", text)))
    fenced = (code for language, code in _FENCED.findall(text) if language == "python")
    return [*fenced, *(code for code in indented if code.startswith(("import ", "from ")))]


def write_files(folder: Path) -> None:
    """Writes the files of a reader's that the pages show: "# my_conf/..." and the lines below."""
    for page in PAGES:
        for block in _INDENTED.findall(_FENCED.sub("", text_of(page))):
            named = _FILE.split(dedent(block))[1:]
            for name, body in zip(named[::2], named[1::2], strict=True):
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(_TERMINAL.sub("", body), encoding="utf-8")


def links(page: Path) -> Iterator[str]:
    """The targets of a page's links and pictures that are not elsewhere on the web."""
    text = re.sub(r"`[^`\n]*`", "", _FENCED.sub("", text_of(page)))
    for target in (*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'src="([^"]+)"', text)):
        if not re.match(r"\w+:", target):
            yield target


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ +(.+)$", _FENCED.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
