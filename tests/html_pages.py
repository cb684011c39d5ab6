"""What a report's page links to, shows and says."""

from html.parser import HTMLParser
from pathlib import Path

from vwtransfer.report.page import page
from vwtransfer.report.study_reader import read_study


class Page(HTMLParser):
    """One page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.script = ""
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        held = dict(attributes)
        self.open.append(tag)
        self.links += [value for name in ("src", "href") if (value := held.get(name))]
        self.ids += [value] if (value := held.get("id")) else []
        if tag == "img":
            self.images.append(held)

    def handle_data(self, text: str) -> None:
        if self.open and self.open[-1] == "script":
            self.script += text
        else:
            self.texts.append(text)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page_of(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def undrawn(folder: Path, *, full: bool = False) -> Page:
    """What a report says, without figures 3 and 6, which take time."""
    return Page(page(read_study(folder), {}, full=full))
