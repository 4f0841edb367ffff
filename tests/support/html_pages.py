"""Pages of a static site as tests look at them: links, places, tags, text."""

from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """A page; no element of it may run a script by an attribute."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} {name}"
            if name in ("href", "src") and value:
                self.links.append(value)
            if name == "id" and value:
                self.ids.append(value)

    def handle_data(self, data: str) -> None:
        self.text += data


def pages_of(folder: Path) -> dict[Path, Page]:
    """All pages below a folder. Every link of each must lead to a file there and a place in it, each named once."""
    pages = {file: Page(file) for file in sorted(folder.rglob("*.html"))}
    for file, page in pages.items():
        assert len({*page.ids}) == len(page.ids), file
        for link in page.links:
            path, _, place = link.partition("#")
            there = (file.parent / path).resolve() if path else file
            assert there.is_file(), f"{file}: {link}"
            assert not place or place in pages[there].ids, f"{file}: {link}"
    return pages
