"""The command line, ``ganlab COMMAND``. A command is a function of its options, beside the one that adds them.

Training options are ``Config``'s own fields, in its groups. Heavy imports wait until a command needs them.
"""

import argparse
import dataclasses
import difflib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from ganlab import __version__
from ganlab.bench.command import add_arguments as bench_arguments
from ganlab.bench.command import one_line
from ganlab.choices import EXTRACTORS
from ganlab.config import DATASETS, NOTEBOOK_PARAMETERS, Config, item_type, option_default
from ganlab.errors import GanlabError, last_words
from ganlab.priors import PRIORS
from ganlab.study.command import add_arguments as study_arguments

EXIT_CODES = {
    0: "done",
    1: "failed on the way",
    2: "wrong input: nothing was started",
    3: "nothing left to do (study --next)",
    130: "stopped by Ctrl-C",
    143: "stopped by SIGTERM",
}

Options = dict[str, Any]


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns one of ``EXIT_CODES``, after one sentence where something is wrong."""
    try:
        options = parse(argv)
    except SystemExit as stop:  # --help and --version, or a mistake that was answered
        return int(stop.code or 0)
    command = options.pop("command")
    try:
        return COMMANDS[command][0](options) or 0
    except GanlabError as error:
        print(f"ganlab {command}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"ganlab {command}: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except (OSError, MemoryError, RuntimeError) as error:  # what no module below has a sentence for
        if os.environ.get("GANLAB_DEBUG"):
            raise
        print(f"ganlab {command}: {last_words(error)}; GANLAB_DEBUG=1 shows where", file=sys.stderr)
        return 1


# --- training -------------------------------------------------------------------------------------------------------


def config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="DIR", help="the run's folder (default: results/runs/<its names>)")
    groups: dict[str, Any] = {}
    for option in dataclasses.fields(Config):
        name = option.metadata["group"]
        group = groups.get(name) or groups.setdefault(name, parser.add_argument_group(name))
        _add_option(group, option)


def _add_option(group: Any, option: dataclasses.Field) -> None:
    default, kind = option_default(option), item_type(option)
    choices = (*DATASETS, "FOLDER") if option.name == "dataset" else option.metadata["choices"]
    shown = f" ({' | '.join(map(str, choices))})" if choices else ""
    preset = "" if option.name in ("preset", "classes") else ", or the preset's"
    said = f"{option.metadata['help']}{shown} [{default}{preset}]".replace("%", "%%")
    words = f"--{option.name.replace('_', '-')}"
    if kind is bool:
        group.add_argument(words, dest=option.name, action=argparse.BooleanOptionalAction, help=said)
        return
    many = "*" if isinstance(default, list) else None
    group.add_argument(words, dest=option.name, type=kind, nargs=many, metavar=kind.__name__.upper(), help=said)


def train(options: Options) -> None:
    """train a GAN; the same command again resumes or returns"""
    out, config = options.pop("out", None), Config.from_preset(**options)

    from ganlab.progress import watch
    from ganlab.run import Run
    from ganlab.training import train as training

    out = Path(out or _default_out(config))
    watch(training(config, Run(out)))
    print(f"{out}: generator.safetensors, metrics.json, history.csv, samples/")


def experiment(options: Options) -> None:
    """train through notebooks/experiment.ipynb and keep the executed notebook"""
    out, config = options.pop("out", None), Config.from_preset(**options)

    from ganlab.notebooks import execute

    out = Path(out or _default_out(config))
    named = {key: getattr(config, key) for key in NOTEBOOK_PARAMETERS}
    settings = {key: value for key, value in options.items() if key not in NOTEBOOK_PARAMETERS}
    parameters = {**named, "out": str(out), "settings": settings}
    title = f"What does a GAN learn from {_data_words(config)}?"
    print(execute("experiment", out / "experiment.ipynb", parameters, title=title))


def tutorial_arguments(parser: argparse.ArgumentParser) -> None:
    words = "where page and run are kept (default results/tutorial)"
    parser.add_argument("--out", default="results/tutorial", metavar="DIR", help=words)
    parser.add_argument("--prior", default="gaussian", choices=tuple(PRIORS), metavar="NAME", help="of the latents")


def tutorial(options: Options) -> None:
    """a GAN step by step: run notebooks/tutorial.ipynb, two minutes without a data set"""
    from ganlab.notebooks import execute

    out = Path(options["out"])
    print(execute("tutorial", out / "tutorial.ipynb", options, quiet=True))
    _note_origin(out)


def _data_words(config: Config) -> str:
    """The images of a config, for a title."""
    if config.dataset == "cifar10":
        return f"CIFAR-10's {' and '.join(config.classes)} images" if config.classes else "all of CIFAR-10"
    return "ten kinds of shapes" if config.dataset == "shapes" else f"the folder {Path(config.dataset).name}"


def _default_out(config: Config) -> Path:
    """results/runs/<data>-<classes>-<preset>-<prior>-<scaling>-s<seed>. To vary more, give --out."""
    words = [Path(config.dataset).name, *config.classes, config.preset, config.prior, config.scaling, f"s{config.seed}"]
    return Path("results/runs") / "-".join(words)


# --- what a run is good for -----------------------------------------------------------------------------------------


def sample_arguments(parser: argparse.ArgumentParser) -> None:
    _run_argument(parser, "a finished run")
    parser.add_argument("-n", type=int, default=64, help="how many images (default 64)")
    parser.add_argument("--out", required=True, metavar="PATH", help="a folder for PNG files, or a name ending in .npz")
    parser.add_argument("--seed", type=int, default=0, help="seed of the latents (default 0)")
    words = "of a conditional run (default: all its classes in turn)"
    parser.add_argument("--classes", "--class", nargs="+", metavar="NAME", help=words)
    _best_argument(parser)


def sample(options: Options) -> None:
    """draw images from a trained run, for data augmentation"""
    from ganlab.latents import write_samples
    from ganlab.run import Run

    run, out = Run(options["run"]), Path(options["out"])
    print(write_samples(run, options["n"], out, options["seed"], options["best"], options["classes"]))


def export_arguments(parser: argparse.ArgumentParser) -> None:
    _run_argument(parser, "a finished run")
    parser.add_argument("--out", required=True, metavar="FILE", help="a name ending in .onnx")
    _best_argument(parser)


def export(options: Options) -> None:
    """write a run's generator as ONNX, which needs no PyTorch; checked against it"""
    from ganlab.run import Run
    from ganlab.site.export import export as to_onnx

    print(to_onnx(Run(options["run"]), Path(options["out"]), options["best"]))


def evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    _run_argument(parser, "a finished run")
    parser.add_argument("--images", default="", metavar="DIR", help="a folder of images to score in place of samples")
    words = f"{' | '.join(EXTRACTORS)} (default: the run's own judges)"
    parser.add_argument("--extractors", nargs="+", default=[], metavar="NAME", help=words)
    words = "how many samples (default: as many as training images, at most 5000)"
    parser.add_argument("-n", type=int, default=0, help=words)
    parser.add_argument("--notebook", action="store_true", help="run notebooks/evaluation.ipynb and keep it in the run")
    _best_argument(parser)


def evaluate(options: Options) -> None:
    """score a run, or a folder of images, beside its real-vs-real floor"""
    if options["notebook"]:
        from ganlab.notebooks import execute

        named = {key: options[key] for key in ("run", "images", "extractors", "n", "best")}
        print(execute("evaluation", Path(options["run"]) / "evaluation.ipynb", named))
        return

    from ganlab.run import Run
    from ganlab.scoring.evaluate import evaluate_run

    run = Run(options["run"])
    table = evaluate_run(run, options["extractors"], options["n"], options["best"], options["images"])
    run.write("evaluation.csv", lambda path: table.to_csv(path, index=False))
    print(table.to_string(index=False, float_format=lambda x: f"{x:.4g}", na_rep=""))
    print(f"\n{run.path / 'evaluation.csv'}; floor: the same number with real images in place of the generated ones")


def classify_arguments(parser: argparse.ArgumentParser) -> None:
    _run_argument(parser, "a conditional run")
    words = "real images a class (default 20 100 500)"
    parser.add_argument("--real", type=int, nargs="+", default=[20, 100, 500], metavar="K", help=words)
    words = "of real images, latents and classifiers (default 0 1 2 3 4)"
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], metavar="N", help=words)


def classify(options: Options) -> None:
    """what a conditional run's images add to a classifier that has few real ones"""
    from ganlab import report
    from ganlab.run import Run
    from ganlab.scoring import augmentation

    run = Run(options["run"])
    for row in augmentation.classify(run, options["real"], options["seeds"]):
        print(one_line(row), flush=True)
    print(augmentation.summary(augmentation.read_rows(run)).to_string(index=False, na_rep=""))
    print(f"{report.write_classification(run)}; classification.csv, figures/classification.png")


def _run_argument(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--run", required=True, metavar="DIR", help=f"the folder of {what}")


def _best_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--best", action="store_true", help="the generator that scored best in training")


# --- many runs ------------------------------------------------------------------------------------------------------


def study(options: Options) -> int:
    """run, resume, plan or report a study; 'next' trains one pending run"""
    from ganlab.study.command import main as act

    return act(options)


def report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="results", metavar="DIR", help="(default results)")


def report(options: Options) -> None:
    """render the explorer, and index all results in results/README.md and all generators in results/generators.md"""
    from ganlab.notebooks import execute
    from ganlab.report import write_cards, write_index

    out = Path(options["out"])
    print(execute("explorer", out / "explorer" / "explorer.ipynb", {}, quiet=True))
    _note_origin(out / "explorer")
    print(write_cards(out), write_index(out))


def site_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="site", metavar="DIR", help="(default site)")


def site(options: Options) -> None:
    """build the web page: sliders that run in the browser, and all results"""
    from ganlab.site.build import build

    out = Path(options["out"])
    print(f"{out}: {build(out)} pages; look at it with: python -m http.server --bind 127.0.0.1 --directory {out}")


# --- this machine ---------------------------------------------------------------------------------------------------


def _note_origin(folder: Path) -> None:
    """Leaves about.json beside a page: when, by which versions and on what it was made."""
    from ganlab.files import write_atomic
    from ganlab.machine import provenance

    write_atomic(folder / "about.json", lambda path: path.write_text(json.dumps(provenance(), indent=2) + "\n"))


def bench(options: Options) -> None:
    """measure this machine: images per second beside plain PyTorch, larger images (--resolutions), both precisions
    (--precisions), or quality per minute (--race)"""
    from ganlab.bench.command import main as measure

    measure(options)


# --- parsing --------------------------------------------------------------------------------------------------------

COMMANDS: dict[str, tuple[Callable[[Options], int | None], Callable[[argparse.ArgumentParser], None]]] = {
    "train": (train, config_arguments),
    "experiment": (experiment, config_arguments),
    "tutorial": (tutorial, tutorial_arguments),
    "sample": (sample, sample_arguments),
    "export": (export, export_arguments),
    "evaluate": (evaluate, evaluate_arguments),
    "classify": (classify, classify_arguments),
    "study": (study, study_arguments),
    "bench": (bench, bench_arguments),
    "report": (report, report_arguments),
    "site": (site, site_arguments),
}


class _Parser(argparse.ArgumentParser):
    """Answers a mistake with one sentence and a hint."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; '{self.prog} --help' lists what is valid\n")


def parse(argv: list[str] | None) -> Options:
    """What was typed, with its ``command``. Raises ``SystemExit`` after a mistake was answered, or help shown."""
    codes = "exit codes: " + "; ".join(f"{code} {said}" for code, said in EXIT_CODES.items())
    parser = _Parser(prog="ganlab", description="Train, sample and compare convolutional GANs.", epilog=codes)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (function, arguments) in COMMANDS.items():
        # of a config, what was not said is left to the preset
        default = argparse.SUPPRESS if arguments is config_arguments else None
        words = {"help": function.__doc__, "description": function.__doc__, "argument_default": default}
        arguments(commands.add_parser(name, usage="%(prog)s [options]", **words))
    options, rest = parser.parse_known_args(argv)
    command = commands.choices[options.command]
    out = getattr(options, "out", None)
    if out is not None and not out.strip():  # it would be the current folder
        command.error("--out is empty: name a folder")
    if rest:
        near = difflib.get_close_matches(rest[0], command._option_string_actions, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        command.error(f"unknown argument {rest[0]}{hint}")
    return vars(options)
