"""The command line, ``ganlab COMMAND``. Training options are ``Config``'s own fields; heavy imports wait."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from ganlab import __version__
from ganlab.config import CHOICES, DATASETS, DIFFAUGMENT, REAL_AUGMENT, Config, option_default
from ganlab.errors import GanlabError
from ganlab.presets import PRESETS


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns 0, or 2 after one sentence about a mistake, or 130 when it was interrupted."""
    arguments = vars(_parser().parse_args(argv))
    command = arguments.pop("command")
    try:
        COMMANDS[command][0](arguments)
    except GanlabError as error:
        print(f"ganlab {command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"ganlab {command}: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def train(options: dict[str, Any]) -> None:
    """train a GAN; the same command again resumes or returns"""
    out, config = _pop_out(options), _config(options)

    from ganlab.progress import watch
    from ganlab.run import Run
    from ganlab.training.loop import train as training

    out = out or _default_out(config)
    watch(training(config, Run(out)))
    print(f"{out}: generator.safetensors, metrics.json, history.csv, samples/")


def experiment(options: dict[str, Any]) -> None:
    """train through notebooks/experiment.ipynb and keep the executed notebook"""
    out, config = _pop_out(options), _config(options)

    from ganlab.notebooks import execute

    out = out or _default_out(config)
    named = {key: getattr(config, key) for key in NOTEBOOK_PARAMETERS}
    settings = {key: value for key, value in options.items() if key not in NOTEBOOK_PARAMETERS}
    print(execute("experiment", out / "experiment.ipynb", {**named, "out": str(out), "settings": settings}))


def sample(options: dict[str, Any]) -> None:
    """draw images from a trained run, for data augmentation"""
    from ganlab.latents import write_samples
    from ganlab.run import Run

    run, out = Run(options["run"]), Path(options["out"])
    print(write_samples(run, options["n"], out, options["seed"], options["best"], options["classes"]))


def evaluate(options: dict[str, Any]) -> None:
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


def classify(options: dict[str, Any]) -> None:
    """what a conditional run's images add to a classifier that has few real ones"""
    from ganlab.run import Run
    from ganlab.scoring import augmentation

    run = Run(options["run"])
    for row in augmentation.classify(run, options["real"], options["seeds"]):
        print(augmentation.describe(row), flush=True)
    report, table = augmentation.write_report(run), augmentation.summary(augmentation.read_rows(run))
    print(augmentation.shown(table).to_string(index=False), *augmentation.findings(table), sep="\n")
    print(f"{report}; classification.csv, figures/classification.png")


def study(options: dict[str, Any]) -> None:
    """run or resume a study on a Dask cluster, then its notebook; 'report': the notebook of the runs there are;
    'status': how far it is"""
    from ganlab import study as studies

    plan = studies.read(options["study"], options["out"])
    if options["action"] == "status":
        print(studies.describe(studies.status(plan), options["workers"]))
        return
    if options["action"] == "run":
        studies.follow(plan, options["scheduler"], options["workers"], options["retry_failed"])
        if plan.is_reported:
            print(f"{plan.report} tells of all of them; 'ganlab study report' makes it again")
            return
    if not {"done", "failed"} & {planned.status for planned in plan.runs}:
        words = f"ganlab study --study {options['study']} --out {plan.root}"
        raise studies.StudyError(f"{plan.root} holds no run of {plan.name} that has ended: '{words}' starts it")
    from ganlab.notebooks import execute

    for name in reversed(plan.notebooks):  # the answer last: it says that all is told
        print(execute(name, plan.root / f"{name}.ipynb", {"study": options["study"], "out": str(plan.root)}))


def report(options: dict[str, Any]) -> None:
    """render the explorer, and index all results in results/README.md"""
    import json

    from ganlab.files import write_atomic
    from ganlab.machine import provenance
    from ganlab.notebooks import execute
    from ganlab.report import write_index

    out = Path(options["out"])
    print(execute("explorer", out / "explorer" / "explorer.ipynb", {}, quiet=True))
    about = json.dumps(provenance(), indent=2) + "\n"
    write_atomic(out / "explorer" / "about.json", lambda path: path.write_text(about))
    print(write_index(out))


def bench(options: dict[str, Any]) -> None:
    """measure this machine: images per second beside plain PyTorch, larger images (--resolutions), or quality per
    minute (--race)"""
    from ganlab import bench

    out, contenders = Path(options["out"]), options["contenders"]
    if options["resolutions"]:
        for row in bench.resolutions(out):
            print(_line(row), flush=True)
        print(f"{out}: resolutions.md")
        return
    if options["race"] is None:
        for table in bench.measure(out, options["rounds"]):
            print(table.to_string(index=False, float_format=lambda x: f"{x:.3g}", na_rep=""), end="\n\n")
        print(f"{out}: bench.md, bench.json")
        return
    for seed in options["seeds"]:
        for contender in contenders:
            for row in bench.race(out, contender, options["race"], seed):
                print(_line({key: value for key, value in row.items() if not key.endswith("_floor")}), flush=True)
    print(bench.draw_race(out))


def _line(row: dict[str, Any]) -> str:
    return "  ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
    )


# A command is a function and a row: the function, and whether it takes the options of Config.
COMMANDS = {
    "train": (train, True),
    "experiment": (experiment, True),
    "sample": (sample, False),
    "evaluate": (evaluate, False),
    "classify": (classify, False),
    "study": (study, False),
    "bench": (bench, False),
    "report": (report, False),
}


# What the parameters cell of the experiment names; every other field of Config goes into its ``settings``.
NOTEBOOK_PARAMETERS = ("preset", "dataset", "classes", "prior", "arm", "latent_dim", "epochs", "seed")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ganlab", description="Train, sample and compare convolutional GANs.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (function, takes_config) in COMMANDS.items():
        default = argparse.SUPPRESS if takes_config else None  # what was not said is left to the preset
        command = commands.add_parser(
            name, help=function.__doc__, description=function.__doc__, argument_default=default
        )
        if takes_config:
            command.add_argument("--out", metavar="DIR", help="the run's folder (default: results/runs/<its names>)")
            for option in dataclasses.fields(Config):
                _add_option(command, option)
    drawing = commands.choices["sample"]
    drawing.add_argument("--run", required=True, metavar="DIR", help="the folder of a finished run")
    drawing.add_argument("-n", type=int, default=64, help="how many images (default 64)")
    drawing.add_argument(
        "--out", required=True, metavar="PATH", help="a folder for PNG files, or a name ending in .npz"
    )
    drawing.add_argument("--seed", type=int, default=0, help="seed of the latents (default 0)")
    drawing.add_argument("--classes", "--class", nargs="+", metavar="NAME",
                         help="of a conditional run (default: all its classes in turn)")  # fmt: skip
    judging = commands.choices["evaluate"]
    judging.add_argument("--run", required=True, metavar="DIR", help="the folder of a finished run")
    judging.add_argument("--images", default="", metavar="DIR", help="a folder of images to score in place of samples")
    judging.add_argument("--extractors", nargs="+", default=["cifar_resnet"], metavar="NAME",
                         help=f"{' | '.join(CHOICES['eval_extractor'])} (default cifar_resnet)")  # fmt: skip
    judging.add_argument("-n", type=int, default=0, help="how many samples (default: as many as training images, "
                         "at most 5000)")  # fmt: skip
    judging.add_argument(
        "--notebook", action="store_true", help="run notebooks/evaluation.ipynb and keep it in the run"
    )
    teaching = commands.choices["classify"]
    teaching.add_argument("--run", required=True, metavar="DIR", help="the folder of a conditional run")
    teaching.add_argument("--real", type=int, nargs="+", default=[20, 100, 500], metavar="K",
                          help="real images a class (default 20 100 500)")  # fmt: skip
    teaching.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], metavar="N",
                          help="of real images, latents and classifiers (default 0 1 2 3 4)")  # fmt: skip
    studying = commands.choices["study"]
    studying.add_argument("action", nargs="?", default="run", choices=("run", "report", "status"), help="(default run)")
    studying.add_argument(
        "--study", default="noise-study", metavar="NAME", help="noise-study | quick | presets | a .yaml file"
    )
    studying.add_argument("--out", default="", metavar="DIR", help="(default results/NAME)")
    studying.add_argument("--scheduler", default="", metavar="ADDRESS", help="of a Dask cluster, as tcp://host:8786")
    studying.add_argument("--workers", type=int, default=0, help="processes here (default: one a GPU, else one a core)")
    studying.add_argument("--retry-failed", action="store_true", default=False, help="run what failed once more")
    reporting = commands.choices["report"]
    reporting.add_argument("--out", default="results", metavar="DIR", help="(default results)")
    measuring = commands.choices["bench"]
    measuring.add_argument("--out", default="results/bench", metavar="DIR", help="(default results/bench)")
    measuring.add_argument("--rounds", type=int, default=6, help="times that all take turns, at least 5 (default 6)")
    measuring.add_argument("--resolutions", action="store_true", default=False, help="speed and memory at 32, 64, 128")
    measuring.add_argument("--race", type=float, metavar="MINUTES", help="train for so long and score on the way")
    measuring.add_argument("--contenders", nargs="+", default=["plain", "fast"], metavar="NAME",
                           help="of a race: plain | fast | 'fast, ten classes' | 'fast, conditional'")  # fmt: skip
    measuring.add_argument("--seeds", type=int, nargs="+", default=[0], help="of a race (default 0)")
    for command in (drawing, judging):
        command.add_argument(
            "--best", action="store_true", default=False, help="the generator that scored best in training"
        )
    return parser


def _add_option(command: argparse.ArgumentParser, option: dataclasses.Field) -> None:
    default, is_list = option_default(option), isinstance(option_default(option), list)
    kind = int if option.name == "snapshot_epochs" else str if is_list else option.type
    tables = {"preset": PRESETS, "diffaugment": DIFFAUGMENT, "real_augment": REAL_AUGMENT,
              "dataset": (*DATASETS, "FOLDER")}  # fmt: skip
    valid = tables.get(option.name, CHOICES.get(option.name, ()))
    shown = f" ({' | '.join(map(str, valid))})" if valid else ""
    preset = "" if option.name in ("preset", "classes") else ", or the preset's"
    words = f"--{option.name.replace('_', '-')}"
    if kind is bool:
        command.add_argument(words, dest=option.name, action=argparse.BooleanOptionalAction,
                             help=f"{option.metadata['help']} [{default}{preset}]")  # fmt: skip
        return
    command.add_argument(
        words,
        dest=option.name,
        type=kind,
        nargs="*" if is_list else None,
        metavar=kind.__name__.upper(),
        help=f"{option.metadata['help']}{shown} [{default}{preset}]".replace("%", "%%"),
    )


def _pop_out(options: dict[str, Any]) -> Path | None:
    return Path(options.pop("out")) if "out" in options else None


def _config(options: dict[str, Any]) -> Config:
    return Config.from_preset(**options)


def _default_out(config: Config) -> Path:
    """results/runs/<data>-<classes>-<preset>-<prior>-<arm>-s<seed>: whoever varies more than that names a folder."""
    words = [Path(config.dataset).name, *config.classes, config.preset, config.prior, config.arm, f"s{config.seed}"]
    return Path("results/runs") / "-".join(words)


if __name__ == "__main__":
    sys.exit(main())
