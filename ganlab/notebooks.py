"""Running notebooks: where they start from, and how papermill executes one in batch. Knows nothing of GANs."""

import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

from ganlab.errors import GanlabError, unknown
from ganlab.files import write_atomic

WIDGET = "application/vnd.jupyter.widget-view+json"
OUTWARD = re.compile(r"\]\((\.\./[^)#]+)")  # the start of a link to another folder, its path
BATCH = "GANLAB_BATCH"  # set in the kernel of a batch run: nobody watches, so nothing is drawn live


class NotebookError(GanlabError):
    """A notebook outside a checkout, or one that stopped with an error."""

    exit_code = 1


def project_root() -> Path:
    """The nearest folder above the current one, or itself, that holds ``notebooks/experiment.ipynb``."""
    start = Path.cwd().resolve()
    for folder in (start, *start.parents):
        if (folder / "notebooks" / "experiment.ipynb").exists():
            return folder
    raise NotebookError(f"{start} is not inside a ganlab checkout: change to the folder that holds notebooks/")


def begin() -> None:
    """A notebook's first call: works from the project root, wherever it was opened, so that paths mean the same.

    Warnings become one line without a file's path: a rendered notebook is read on other machines.
    """
    os.chdir(project_root())
    warnings.formatwarning = lambda message, category, *_: f"{category.__name__}: {message}\n"


def is_live() -> bool:
    """Whether someone watches: a kernel is running this, and not in batch."""
    if os.environ.get(BATCH):
        return False
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")


def execute(name: str, target: Path, parameters: dict[str, Any], quiet: bool = False, title: str = "") -> Path:
    """Runs ``notebooks/<name>.ipynb`` with papermill and leaves the executed notebook at ``target``.

    While it runs, and if it fails, the notebook lies beside the target as ``<target>.partial.ipynb``; an earlier target
    is replaced only by a finished one. quiet: what it prints is kept in the notebook alone. title: takes the place of
    the notebook's own. Raises ``ConfigError`` for an unknown notebook or a parameter that its ``parameters`` cell does
    not name, and ``NotebookError`` when a cell fails, with the cell's error.
    """
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config as TraitletsConfig

    source = project_root() / "notebooks" / f"{name}.ipynb"
    if not source.exists():
        raise unknown("notebook", name, sorted(path.stem for path in source.parent.glob("*.ipynb")))
    known = papermill.inspect_notebook(str(source))
    for key in parameters:
        if key not in known:
            raise unknown(f"parameter of {source.name}", key, known)
    target = Path(target)
    partial, before = target.with_suffix(".partial.ipynb"), os.environ.get(BATCH)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.environ[BATCH] = "1"
        papermill.execute_notebook(
            str(source), str(partial), parameters, progress_bar=False, kernel_name="python3",
            stdout_file=None if quiet else sys.stdout, stderr_file=None if quiet else sys.stderr,
            config=TraitletsConfig({"KernelManager": {"transport_encryption": "auto"}}),
            extra_arguments=["--log-level=50"],  # the kernel's own log; the notebook's errors come back as errors
        )  # fmt: skip
    except PapermillExecutionError as error:
        if error.ename == "KeyboardInterrupt":
            raise KeyboardInterrupt from None
        raise NotebookError(f"{error.evalue} ({error.ename} in {partial})") from None
    except DeadKernelError:
        raise NotebookError(
            f"the kernel of {source.name} died (killed, or out of memory): the same command goes on where it stopped"
        ) from None
    except OSError as error:
        raise NotebookError(
            f"cannot write {target} ({error.strerror or error}): choose another folder with --out"
        ) from None
    finally:
        if before is None:
            os.environ.pop(BATCH, None)
    notebook = nbformat.read(partial, as_version=4)
    strip(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = moved_links(cell.source, source.parent, target.parent)
    if title:
        notebook.cells[0].source = re.sub("^# .+", f"# {title}", notebook.cells[0].source, count=1)
    nbformat.validate(notebook)
    write_atomic(target, lambda path: nbformat.write(notebook, path))
    partial.unlink()
    return target


def moved_links(text: str, here: Path, there: Path) -> str:
    """Markdown that is moved to another folder, its links to files outside ``here`` still leading to them."""
    return OUTWARD.sub(lambda link: f"]({os.path.relpath(here / link[1], there)}", text)


def strip(notebook: Any) -> None:
    """Takes out what must not be committed: widgets, their state (GitHub then refuses to render) and local paths.

    Lines printed one after the other become one text. A picture without alternative text gets its section's heading.
    """
    notebook.metadata.pop("widgets", None)
    notebook.metadata.pop("papermill", None)
    heading = ""
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE) or [heading])[-1]
        elif cell.cell_type == "code":
            cell.outputs = _joined([output for output in cell.outputs if WIDGET not in output.get("data", {})])
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.metadata.setdefault("image/png", {}).setdefault("alt", heading or "a figure")


def _joined(outputs: list[Any]) -> list[Any]:
    """The outputs, lines that were printed one after the other as one text."""
    joined: list[Any] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream" and output.name == joined[-1].name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined
