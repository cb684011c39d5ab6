"""What is printed of a user's names and paths stands there as it is."""

import io
import re
from pathlib import Path

import pytest
from rich.table import Table

import vwtransfer
from vwtransfer.progress import Stages, stages, terminal

NAMES = ["a[1].jpg", "[red]dog[/red]", "x[/]", "run:cat:2", "[link=file]"]


@pytest.mark.parametrize("name", NAMES)
def test_brackets_and_colons_of_names_are_printed(name: str) -> None:
    out = io.StringIO()
    console = terminal(file=out, width=80)
    table = Table(name)
    table.add_row(name)
    console.print(name)
    console.print(table)
    Stages(None, console).stage(name, 1).__enter__()(1)
    assert out.getvalue().count(name) == 4


def test_a_bar_has_its_name_as_it_is() -> None:
    out = io.StringIO()
    console = terminal(file=out, width=100, force_terminal=True, color_system=None)
    with stages(console, True) as bars, bars.stage("[red]dog[/red]", 1) as advance:
        advance(1)
    assert "[red]dog[/red]" in out.getvalue()


@pytest.mark.parametrize("enabled", [True, False])
def test_without_bars_a_line_tells_that_a_stage_is_done(enabled: bool) -> None:
    out = io.StringIO()
    with stages(terminal(file=out), enabled) as lines, lines.stage("train", 2) as advance:
        advance(2)
    assert out.getvalue().startswith("train: 2/2 in 0 s")


def test_all_that_is_printed_goes_by_one_terminal() -> None:
    """`Console()` of rich would take markup."""
    package = Path(vwtransfer.__file__).parent
    made = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"\b(Console|from_markup)\(", path.read_text(encoding="utf-8"))
    }
    assert made == {"main.py", "progress.py"}  # main.py shows the config as YAML
