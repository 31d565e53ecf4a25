"""``ganlab study``: an action is a function and a row. Heavy imports wait until one is called."""

import argparse
from pathlib import Path
from typing import Any

from ganlab import study as studies
from ganlab.config import NOTEBOOK_PARAMETERS
from ganlab.errors import GanlabError

MOST_THREADS = 1024
DONE, FAILED, NOTHING_LEFT = 0, 1, 3  # exit codes; 2 is a mistake in what was asked


def run(options: dict[str, Any]) -> int:
    """print the plan, run or resume on a Dask cluster, then tables and pages"""
    from ganlab.study import forecast

    plan, condition = studies.read(options["study"], options["out"]), options["condition"]
    forecast.show(plan, condition, options["workers"])
    print(flush=True)
    studies.follow(plan, options["scheduler"], options["workers"], options["retry_failed"], condition)
    if plan.is_reported:
        print(f"{plan.root / plan.notebooks[0]}.ipynb is up to date; 'ganlab study report' renders it again")
    else:
        publish(plan, options["study"])
    return _code(plan, condition)


def show_plan(options: dict[str, Any]) -> int:
    """what would run, for how long here, and what it could find; trains for two seconds a condition"""
    from ganlab.study import forecast

    forecast.show(studies.read(options["study"], options["out"]), options["condition"], options["workers"])
    return DONE


def next_run(options: dict[str, Any]) -> int:
    """train one pending run, for job arrays; exit code 0: trained, 1: it failed, 3: nothing is left to claim"""
    import torch

    from ganlab.study.jobs import reason

    torch.set_num_threads(options["threads"])
    plan = studies.read(options["study"], options["out"])
    planned = studies.next_run(plan, options["condition"], options["retry_failed"])
    if planned is None:
        print(f"{plan.root}: nothing left to claim")
        return NOTHING_LEFT
    if planned.status == "failed":
        print(f"failed: {planned.path}: {reason(planned.path)}")
        return FAILED
    print(f"{planned.status}: {planned.path}")
    return DONE


def report(options: dict[str, Any]) -> int:
    """tables and pages of the runs there are"""
    plan = studies.read(options["study"], options["out"])
    if not {"done", "failed"} & {planned.status for planned in plan.runs}:
        words = f"ganlab study --study {options['study']} --out {plan.root}"
        raise studies.StudyError(f"{plan.root} holds no run of {plan.name} that has ended: '{words}' starts it")
    publish(plan, options["study"], options["tables_only"])
    return DONE


def status(options: dict[str, Any]) -> int:
    """how far it is"""
    plan = studies.read(options["study"], options["out"])
    print(studies.describe(studies.status(plan, options["condition"]), options["workers"]))
    return _code(plan, options["condition"])


def publish(plan: Any, name: str, tables_only: bool = False) -> None:
    """Writes the tables, and executes the notebooks that show them, the answer last."""
    from ganlab.notebooks import execute
    from ganlab.study import tables

    if "noise_study" in plan.notebooks:
        tables.write(plan)
        print(f"{plan.root}: {', '.join(f'{table}.csv' for table in tables.NAMES)}")
    if tables_only:
        return
    for planned in plan.shown:
        show_run(planned, plan.name)
    for page in reversed(plan.notebooks):
        print(execute(page, plan.root / f"{page}.ipynb", {"study": name, "out": str(plan.root)}))


def show_run(planned: Any, study: str) -> None:
    """Leaves an executed experiment notebook beside a finished run, once, if its generator is here."""
    from ganlab.config import Config
    from ganlab.notebooks import execute
    from ganlab.run import Run

    page = planned.path / "experiment.ipynb"
    if page.exists() or not Run(planned.path).is_finished(planned.config):
        return
    config, usual = planned.config.to_dict(), Config.from_preset(planned.config.preset).to_dict()
    settings = {key: value for key, value in config.items() if key not in NOTEBOOK_PARAMETERS and value != usual[key]}
    parameters = {key: config[key] for key in NOTEBOOK_PARAMETERS} | {"out": str(planned.path), "settings": settings}
    title = f"A run of {study}: {planned.condition}, {planned.prior}, seed {planned.seed}"
    print(execute("experiment", page, parameters, quiet=True, title=title))


def _code(plan: Any, condition: str) -> int:
    """1 when a run failed."""
    failed = studies.status(plan, condition)["failed"]
    if failed:
        print(f"{failed} failed: the same command with --retry-failed tries them again")
    return FAILED if failed else DONE


ACTIONS = {"run": run, "plan": show_plan, "next": next_run, "report": report, "status": status}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every action, grouped by the action that reads them."""
    lines = [f"{name}: {' '.join((action.__doc__ or '').split())}" for name, action in ACTIONS.items()]
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "\n".join(lines)
    parser.add_argument("action", nargs="?", default="run", choices=tuple(ACTIONS), help="(default run)")
    parser.add_argument("--next", action="store_true", help="the same as the action next")
    names = sorted(path.stem for path in Path(__file__).with_name("plans").glob("*.yaml"))
    parser.add_argument("--study", default="noise-study", metavar="NAME", help=f"{' | '.join(names)} | a .yaml file")
    parser.add_argument("--out", metavar="DIR", help="(default results/NAME)")
    parser.add_argument("--condition", default="", metavar="NAME", help="only this one: P1; S2 means all named S2-...")
    parser.add_argument("--workers", type=int, default=0, help="processes here (default: one a GPU, else one a core)")
    running = parser.add_argument_group("run and next")
    running.add_argument("--retry-failed", action="store_true", help="run what failed once more")
    running.add_argument("--scheduler", default="", metavar="ADDRESS", help="run: a Dask cluster, as tls://host:8786")
    running.add_argument("--threads", type=int, default=1, help="next: threads of the training (default 1)")
    reporting = parser.add_argument_group("report")
    reporting.add_argument("--tables-only", action="store_true", help="no pages")


def main(options: dict[str, Any]) -> int:
    """Does what was asked; returns the exit code. Raises ``GanlabError``."""
    if not 1 <= options["threads"] <= MOST_THREADS:
        raise GanlabError(f"--threads is {options['threads']}: give 1 to {MOST_THREADS:,}")
    return ACTIONS["next" if options["next"] else options["action"]](options)
