"""The pages of a checkout as HTML: Markdown, executed notebooks and source files, with the links between them."""

import html
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, unquote

from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, find_lexer_class_for_filename

LINK = re.compile(r'\b(href|src)="([^"]+)"')
TITLE = re.compile(r"<h1[^>]*>(.*?)</h1>", re.DOTALL)
SHELL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{top}site.css">
</head>
<body>
<nav>{links}</nav>
<main class="page">
{body}
</main>
</body>
</html>
"""


def _source(path: Path) -> str:
    lexer = (find_lexer_class_for_filename(path.name) or TextLexer)()
    return f"<h1>{html.escape(path.name)}</h1>\n{highlight(path.read_text(), lexer, HtmlFormatter())}"


# How a kind of file becomes the body of a page. All other files are copied as they are.
READERS: dict[str, Callable[[Path], str]] = {
    ".md": lambda path: markdown2html(path.read_text()),
    ".ipynb": lambda path: HTMLExporter(template_name="basic").from_filename(str(path))[0],
    **dict.fromkeys((".py", ".yaml", ".csv", ".cff"), _source),
}


def page_name(path: Path) -> Path:
    """Where the page of a file stands: ``results/x.ipynb`` -> ``results/x.html``, ``x.py`` -> ``x.py.html``."""
    if path.suffix in (".md", ".ipynb"):
        return path.with_suffix(".html")
    return path.with_name(f"{path.name}.html") if path.suffix in READERS else path


def write_pages(root: Path, starts: list[Path], out: Path, menu: list[tuple[str, str]]) -> int:
    """Writes ``starts``, and every file under ``root`` that they link to, directly or through other pages, to the same
    places under ``out``.

    menu: (words, page under ``out``) at the top of each. Web addresses stay as they are; links to folders, out of
    ``root`` or to nothing lose their address. Returns how many pages there are.
    """
    sources, pages = list(starts), 0
    for source in sources:  # it grows on the way
        target = out / page_name(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix not in READERS:
            shutil.copy(root / source, target)
            continue
        body = READERS[source.suffix](root / source)
        # GitHub's anchors are in small letters
        body = re.sub(r'(<h\d[^>]*\bid=")([^"]+)"', lambda found: f'{found[1]}{found[2].lower()}"', body)
        for _, link in LINK.findall(body):
            if (path := _target(root, source, link)) and path not in sources:
                sources.append(path)
        title = TITLE.search(body)
        top = "../" * (len(source.parts) - 1)
        page = SHELL.format(
            title=re.sub(r"<[^>]+>|¶", "", title[1]).strip() if title else html.escape(source.name),
            top=top,
            links=menu_links(menu, top),
            body=LINK.sub(lambda found, source=source: _moved(root, source, found), body),
        )
        target.write_text(page)
        pages += 1
    return pages


def menu_links(menu: list[tuple[str, str]], top: str = "") -> str:
    return " ".join(f'<a href="{top}{page}">{words}</a>' for words, page in menu)


def _target(root: Path, source: Path, link: str) -> Path | None:
    """The file under ``root`` that a link of ``source`` leads to, as a path from there; None for any other link."""
    address = unquote(html.unescape(link)).split("#")[0]
    if not address or re.match(r"[a-z]+:|//", address):
        return None
    path = Path(os.path.normpath(source.parent / address))
    return path if ".." not in path.parts and (root / path).is_file() else None


def _moved(root: Path, source: Path, found: re.Match[str]) -> str:
    """The attribute of a link, led to the page of its file."""
    attribute, link = found.groups()
    if link.startswith("#"):
        return f'{attribute}="{link.lower()}"'
    if re.match(r"[a-z]+:|//", link):
        return found[0]
    path = _target(root, source, link)
    if path is None:
        return f'data-{attribute}="{link}"'
    moved = quote(Path(os.path.relpath(page_name(path), source.parent)).as_posix())
    return f'{attribute}="{moved}{"#" + link.split("#")[1].lower() if "#" in link else ""}"'
