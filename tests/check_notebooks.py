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
    text = path.read_text()
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
    if not executed and re.search(r'"(/|~/|C:)[a-z]+/', text):
        found.append("names an absolute path")
    return found


def main() -> int:
    listed = subprocess.run(["git", "ls-files", "*.ipynb"], cwd=ROOT, capture_output=True, text=True, check=True)
    bad = 0
    for name in listed.stdout.splitlines():
        for problem in problems(ROOT / name, executed=name.startswith("results/")):
            print(f"{name} {problem}")
            bad += 1
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
