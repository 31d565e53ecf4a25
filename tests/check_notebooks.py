"""What no notebook of this repository may hold. Run as a program it checks every committed one (``make lint``)."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
MOST_BYTES = 1_000_000


def problems(path: Path, executed: bool) -> list[str]:
    """Sentences about what GitHub would refuse or a reader should not see; none for a notebook that is fit."""
    notebook = nbformat.read(path, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    found = []
    if path.stat().st_size > MOST_BYTES:
        found.append(f"is {path.stat().st_size / 1e6:.1f} MB: rendered notebooks stay under 1 MB")
    if "widgets" in notebook.metadata:
        found.append("has metadata.widgets, which GitHub refuses to render")
    if executed and any(output.output_type == "error" for output in outputs):
        found.append("holds an error output")
    if executed and not outputs:
        found.append("holds no outputs: it was not executed")
    if not executed and (outputs or any(cell.get("execution_count") for cell in notebook.cells)):
        found.append("has outputs or execution counts: sources are kept without")
    return found


def absolute_paths(path: Path) -> list[str]:
    """Paths of one machine that the cells or the text outputs name."""
    notebook = nbformat.read(path, as_version=4)
    texts = [cell.source for cell in notebook.cells]
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        texts += [output.get("text", ""), *(v for k, v in output.get("data", {}).items() if k.startswith("text/"))]
    found = re.findall(r"(?<![\w.~/:<])(?:/(?:home|root|work|tmp|Users|mnt|opt|usr)/|C:\\)[\w./-]*", "\n".join(texts))
    return [f"names the absolute path {name}" for name in found]


def main() -> int:
    listed = subprocess.run(["git", "ls-files", "*.ipynb"], cwd=ROOT, capture_output=True, text=True, check=True)
    bad = 0
    for name in listed.stdout.splitlines():
        path = ROOT / name
        for problem in problems(path, executed=name.startswith("results/")) + absolute_paths(path):
            print(f"{name} {problem}")
            bad += 1
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
