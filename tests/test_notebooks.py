"""The notebooks run as they are, in real kernels under papermill, and what they leave is fit for GitHub."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields

import filelock
import nbformat
import psutil
import pytest
from check_pages import absolute_paths, problems
from conftest import ROOT, TINY, ganlab, options

from ganlab import notebooks
from ganlab.config import NOTEBOOK_PARAMETERS, Config
from ganlab.errors import ConfigError
from ganlab.notebooks import NotebookError, execute
from ganlab.run import Run
from ganlab.training.loop import train


@pytest.mark.slow
def test_the_experiment_runs_in_batch_and_its_notebook_is_fit_for_github(tmp_path):
    out = tmp_path / "run"
    answer = ganlab("experiment", *options(TINY, out))
    assert answer.returncode == 0, answer.stderr
    notebook = nbformat.read(out / "experiment.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert problems(out / "experiment.ipynb", executed=True) == []
    assert notebook.cells[0].source.startswith("# What does a GAN learn from ten kinds of shapes?\n")
    assert "[Miyato 2018](https://arxiv.org/abs/1802.05957)" in nbformat.writes(notebook), "the recipe links its papers"
    pictures = [o for cell in notebook.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) >= 5
    lines = [o.text for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type == "stream"]
    assert sum(text.count("\n") for text in lines) < 12, "a batch log stays short"
    assert json.loads((out / "metrics.json").read_text())["epochs"] == 2
    assert not list(out.glob("*.partial.ipynb"))
    again = ganlab("experiment", *options(TINY, out))
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
def test_the_tutorial_runs_without_a_data_set(tmp_path):
    path = execute("tutorial", tmp_path / "tutorial.ipynb", {"prior": "bernoulli", "seconds": 1, "out": str(tmp_path)},
                   quiet=True)  # fmt: skip
    assert problems(path, executed=True) == []
    said = nbformat.writes(nbformat.read(path, as_version=4))
    assert "stderr" not in said, "no warning"
    assert (tmp_path / "bernoulli" / "checkpoint.pt").exists() or (tmp_path / "bernoulli" / "history.csv").exists()


@pytest.mark.slow
def test_the_experiment_of_a_conditional_run_knows_its_classes(tmp_path):
    settings = {**TINY, "limit": 64, "epochs": 1, "conditional": True}
    names = {key: settings.pop(key) for key in ("dataset", "latent_dim", "epochs")}
    path = execute("experiment", tmp_path / "experiment.ipynb",
                   {**names, "classes": [], "out": str(tmp_path), "settings": settings}, quiet=True)  # fmt: skip
    said = nbformat.writes(nbformat.read(path, as_version=4))
    assert said.count("Embedding(") > 2, "in the layers of G and of D"


@pytest.mark.slow
def test_killing_the_batch_run_costs_only_the_steps_since_the_last_checkpoint(tmp_path):
    settings = TINY | {"epochs": 300, "checkpoint_seconds": 0.2, "snapshot_epochs": [300]}
    out = tmp_path / "run"
    words = [sys.executable, "-m", "ganlab", "experiment", *map(str, options(settings, out))]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    patience = time.monotonic() + 120
    while not (out / "history.csv").exists() and time.monotonic() < patience:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    filelock.FileLock(out / ".lock", timeout=60).acquire().lock.release()  # the orphaned kernel has gone as well
    assert not (out / "experiment.ipynb").exists()
    done = Run(out).read_checkpoint()["counters"]["epoch"]
    events = list(train(Config.from_preset(**settings | {"epochs": done + 2}), Run(out)))
    assert events[0].kind == "resumed"
    assert events[-1].row["epochs"] == done + 2


@pytest.mark.slow
def test_a_dead_kernel_is_one_sentence_and_the_same_command_goes_on(tmp_path):
    settings = TINY | {"epochs": 300, "checkpoint_seconds": 0.2, "snapshot_epochs": [300]}
    out = tmp_path / "run"
    words = [sys.executable, "-m", "ganlab", "experiment", *map(str, options(settings, out))]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    patience = time.monotonic() + 120
    while not (out / "checkpoint.previous.pt").exists() and time.monotonic() < patience:
        time.sleep(0.01)
    for kernel in psutil.Process(process.pid).children(recursive=True):
        kernel.kill()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the kernel of experiment.ipynb died" in said
    assert "Traceback" not in said
    assert Run(out).read_checkpoint()["counters"]["step"] > 0


@pytest.mark.slow
def test_in_jupyterlab_the_curves_are_drawn_live(tmp_path):
    from nbclient import NotebookClient

    code = f"""
from ganlab import progress
from ganlab.config import Config
from ganlab.run import Run
from ganlab.training import train
progress.watch(train(Config.from_preset("conv-noise", **{TINY!r}), Run({str(tmp_path / "run")!r})))
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    outputs = NotebookClient(notebook, timeout=120, kernel_name="python3").execute().cells[0].outputs
    line, picture = (output for output in outputs if output.output_type == "display_data")
    assert "finished: 2 epochs" in line.data["text/html"]
    assert len(picture.data["image/png"]) > 10_000


def test_an_unknown_parameter_raises_before_a_kernel_starts(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown parameter of experiment.ipynb 'prier' \(did you mean 'prior'\?\)"):
        execute("experiment", tmp_path / "x.ipynb", {"prier": "poisson"})
    with pytest.raises(ConfigError, match="unknown notebook 'experimant'"):
        execute("experimant", tmp_path / "x.ipynb", {})


@pytest.mark.slow
def test_a_failing_cell_is_one_sentence_and_leaves_the_earlier_notebook(tmp_path):
    (tmp_path / "experiment.ipynb").write_text("the earlier result")
    parameters = {"dataset": "shapes", "settings": {"batch_sise": 3}, "out": str(tmp_path)}
    with pytest.raises(NotebookError, match="unknown parameter 'batch_sise' .did you mean 'batch_size'"):
        execute("experiment", tmp_path / "experiment.ipynb", parameters)
    assert (tmp_path / "experiment.ipynb").read_text() == "the earlier result"
    assert (tmp_path / "experiment.partial.ipynb").exists()


def test_begin_works_from_the_project_root_wherever_it_was_opened(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT / "notebooks")
    notebooks.begin()
    assert os.getcwd() == str(ROOT)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotebookError, match="is not inside a ganlab checkout"):
        notebooks.begin()


def test_the_parameters_cell_names_fields_of_config():
    import papermill

    names = set(papermill.inspect_notebook(str(ROOT / "notebooks" / "experiment.ipynb")))
    assert names - {"out", "settings"} == set(NOTEBOOK_PARAMETERS) <= {option.name for option in fields(Config)}


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_sources_carry_no_outputs(path):
    assert problems(path, executed=False) + absolute_paths(path) == []


COMMITTED = subprocess.run(["git", "ls-files", "*.ipynb"], cwd=ROOT, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("name", [name for name in COMMITTED if name.startswith("results/")])
def test_committed_results_render_on_github(name):
    assert problems(ROOT / name, executed=True) + absolute_paths(ROOT / name) == []


@pytest.mark.slow
def test_committed_notebooks_become_pages_without_a_warning(tmp_path):
    """With the settings that make puts into the environment."""
    words = [sys.executable, "-m", "nbconvert", "--to", "html", "--output-dir", str(tmp_path), *COMMITTED]
    settings = os.environ | {"JUPYTER_CONFIG_PATH": str(ROOT / "notebooks")}
    said = subprocess.run(words, cwd=ROOT, env=settings, capture_output=True, text=True, check=True).stderr
    assert [line for line in said.splitlines() if "Converting" not in line and "Writing" not in line] == []
    assert all("<h1" in page.read_text() for page in tmp_path.glob("*.html"))


def test_links_to_other_folders_survive_the_move_to_the_results(tmp_path):
    text = "[a](../results/a.md#b) [c](c.ipynb) [d](https://e.f)"
    moved = notebooks.moved_links(text, tmp_path / "notebooks", tmp_path / "results" / "x")
    assert moved == "[a](../a.md#b) [c](c.ipynb) [d](https://e.f)"


def test_strip_joins_what_was_printed_line_by_line():
    new = nbformat.v4
    printed = (("stdout", "a\n"), ("stdout", "b\n"), ("stderr", "c\n"), ("stdout", "d\n"))
    lines = [new.new_output("stream", name=name, text=text) for name, text in printed]
    notebook = new.new_notebook(cells=[new.new_code_cell("x", outputs=lines)])
    notebooks.strip(notebook)
    assert [output.text for output in notebook.cells[0].outputs] == ["a\nb\n", "c\n", "d\n"]


def test_strip_takes_widgets_out_and_gives_pictures_words():
    new = nbformat.v4
    widget = new.new_output("display_data", {notebooks.WIDGET: {"model_id": "1"}, "text/plain": "VBox()"})
    pictures = [new.new_output("display_data", {"image/png": "aGk="}, metadata=about)
                for about in ({}, {"image/png": {"alt": "a chart"}})]  # fmt: skip
    cells = [new.new_markdown_cell("# Title\ntext\n## Section\n"), new.new_code_cell("x", outputs=[widget, *pictures])]
    notebook = new.new_notebook(cells=cells, metadata={"widgets": {}, "papermill": {}})
    notebooks.strip(notebook)
    assert not notebook.metadata
    assert [output.metadata["image/png"]["alt"] for output in cells[1].outputs] == ["Section", "a chart"]
