"""The pages of a checkout as HTML: Markdown, executed notebooks and source files, with the links between them."""

import html
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, unquote

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


def _markdown(path: Path) -> str:
    from nbconvert.filters import markdown2html

    return markdown2html(path.read_text())


def _notebook(path: Path) -> str:
    from nbconvert import HTMLExporter

    return HTMLExporter(template_name="basic").from_filename(str(path))[0]


def _source(path: Path) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import TextLexer, get_lexer_for_filename
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_for_filename(path.name)
    except ClassNotFound:
        lexer = TextLexer()
    return f"<h1>{html.escape(path.name)}</h1>\n{highlight(path.read_text(), lexer, HtmlFormatter())}"


# How a kind of file becomes the body of a page. All other files are copied as they are.
READERS: dict[str, Callable[[Path], str]] = {
    ".md": _markdown, ".ipynb": _notebook, ".py": _source, ".yaml": _source, ".csv": _source, ".cff": _source,
}  # fmt: skip


def page_name(path: Path) -> Path:
    """Where the page of a file stands: ``results/x.ipynb`` -> ``results/x.html``, ``x.py`` -> ``x.py.html``."""
    if path.suffix in (".md", ".ipynb"):
        return path.with_suffix(".html")
    return path.with_name(f"{path.name}.html") if path.suffix in READERS else path


def write_pages(root: Path, starts: list[Path], out: Path, menu: list[tuple[str, str]]) -> int:
    """Writes every page that links lead to from ``starts``, files under ``root``, to the same places under ``out``.

    menu: (words, page under ``out``) at the top of each. Links that lead out of ``root`` stay as they are; those to
    folders or to nothing lose their address. Returns how many pages there are.
    """
    waiting, pages = list(starts), 0
    known = set(starts)
    while waiting:
        source = waiting.pop(0)
        target = out / page_name(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix not in READERS:
            shutil.copy(root / source, target)
            continue
        body = READERS[source.suffix](root / source)
        # GitHub's anchors are in small letters
        body = re.sub(r'(<h\d[^>]*\bid=")([^"]+)"', lambda found: f'{found[1]}{found[2].lower()}"', body)
        found = {path: None for _, link in LINK.findall(body) if (path := _target(root, source, link))}
        waiting += [path for path in found if path not in known]
        known |= found.keys()
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
    return path if path.parts[0] != ".." and (root / path).is_file() else None


def _moved(root: Path, source: Path, found: re.Match[str]) -> str:
    """The attribute of a link, led to the page of its file."""
    attribute, link = found.groups()
    if re.match(r"[a-z]+:|//|#", link):
        return found[0]
    path = _target(root, source, link)
    if path is None:
        return f'data-{attribute}="{link}"'
    moved = quote(Path(os.path.relpath(page_name(path), source.parent)).as_posix())
    return f'{attribute}="{moved}{"#" + link.split("#")[1] if "#" in link else ""}"'
