"""What no page of this repository may hold. Run as a program it checks every committed one (``make lint``)."""

import base64
import re
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
MOST_BYTES = 1_000_000  # of a rendered notebook
MOST_PICTURE = 200_000  # of a picture
MOST_MOVING = 500_000  # of an animated one


def problems(path: Path, executed: bool) -> list[str]:
    """Sentences about what GitHub would refuse or a reader should not see; none for a notebook that is fit."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    found = []
    if path.stat().st_size > MOST_BYTES:
        found.append(f"is {path.stat().st_size / 1e6:.1f} MB: rendered notebooks stay under 1 MB")
    if "widgets" in notebook.metadata:
        found.append("has metadata.widgets, which GitHub refuses to render")
    if not notebook.cells[0].source.startswith("# ") or "**Question.**" not in notebook.cells[0].source:
        found.append("does not open with a title and its question")
    if executed and any(output.output_type == "error" for output in outputs):
        found.append("holds an error output")
    if executed and not outputs:
        found.append("holds no outputs: it was not executed")
    if not executed and (outputs or any(cell.get("execution_count") for cell in notebook.cells)):
        found.append("has outputs or execution counts: sources are kept without")
    for output in outputs:
        png = base64.b64decode(output.get("data", {}).get("image/png", ""))
        if png and (words := picture_problem(png)):
            found.append(f"holds a picture that {words}")
        if png and not output.metadata.get("image/png", {}).get("alt"):
            found.append("holds a picture without words for who cannot see it")
    return found


def picture_problem(content: bytes) -> str | None:
    """What is wrong with the size of a PNG file, if anything."""
    moving = b"acTL" in content[:200]
    most = MOST_MOVING if moving else MOST_PICTURE
    return f"is {len(content) / 1000:.0f} kB: at most {most // 1000}" if len(content) > most else None


def absolute_paths(path: Path) -> list[str]:
    """Paths of one machine that the cells or the text outputs name."""
    notebook = nbformat.read(path, as_version=4)
    texts = [cell.source for cell in notebook.cells]
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        texts += [output.get("text", ""), *(v for k, v in output.get("data", {}).items() if k.startswith("text/"))]
    found = re.findall(r"(?<![\w.~/:<])(?:/(?:home|root|work|tmp|Users|mnt|opt|usr)/|C:\\)[\w./-]*", "\n".join(texts))
    return [f"names the absolute path {name}" for name in found]


def broken_links(path: Path) -> list[str]:
    """Links and pictures of a page, its Markdown, that lead to no file of this repository."""
    text = path.read_text()
    if path.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    local = [target.split("#")[0] for target in targets if not re.match(r"[a-z]+:", target)]
    return [f"links to {target}, which is not there" for target in local if not (path.parent / target).exists()]


def main() -> int:
    words = ["git", "ls-files", "*.ipynb", "*.md", "results/*.png"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    bad = 0
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix == ".ipynb":
            found = problems(path, executed=name.startswith("results/")) + absolute_paths(path) + broken_links(path)
        elif path.suffix == ".md":
            found = broken_links(path)
        else:
            found = [words] if (words := picture_problem(path.read_bytes())) else []
        for problem in found:
            print(f"{name} {problem}")
            bad += 1
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
