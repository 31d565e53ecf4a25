"""A study's plan: a YAML file becomes a list of runs. What is done is read from the runs' folders alone."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from ganlab import priors
from ganlab.config import Config
from ganlab.errors import ConfigError, GanlabError, unknown
from ganlab.run import Run
from ganlab.study.statistics import CONTROL, MARGIN

PLANS = Path(__file__).with_name("plans")
FAILED = "failed.json"
CLAIM = ".claim"  # locked while a process has a run, whether it trains already or not
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
ALL = "all"  # the block of a run on every class
STATES = ("done", "running", "half done", "left", "failed")
STUDY_KEYS = ("protocol", "outcome", "judges", "margin", "order", "settings", "conditions", "notebooks",
              "pages", "predictions", "swap")  # fmt: skip
CONDITION_KEYS = ("name", "title", "settings", "blocks", "priors", "seeds", "control_seeds", "pilot")
OUTCOME = {"metric": "fd", "last_scores": 5}


class StudyError(GanlabError):
    """A study that cannot be read or run as asked."""


@dataclass(frozen=True)
class Planned:
    """One run. prior: its name in the tables. block: its class, or ``all``. path: its folder."""

    condition: str
    block: str
    prior: str
    seed: int
    config: Config
    path: Path

    @property
    def status(self) -> str:
        """One of ``STATES``. Done means that its metrics are there: generators of many runs are not kept. Raises
        ``StudyError`` if the folder holds a run of other settings."""
        run = Run(self.path)
        if (self.path / "config.json").exists() and (differs := self.config.differences(run.config)):
            raise StudyError(
                f"{self.path} holds another run ({'; '.join(differs)}): start in a new folder with FRESH=1 or --out"
            )
        if run.finished_epochs == self.config.epochs:
            return "done"
        if (self.path / FAILED).exists():
            return "failed"
        if run.is_locked:
            return "running"
        return "half done" if run.checkpoint_path.exists() else "left"


@dataclass(frozen=True)
class Condition:
    """Runs that are compared with each other. blocks: the classes, each with runs of its own."""

    name: str
    title: str
    blocks: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """runs: in the order they are run. judges: extractors; the first also scores while a run trains. margin: ratios
    within 1 / margin to margin count as equivalent. last_scores: how many of the last scores the outcome averages.
    swap: the conditions whose generators are fed with each other's priors, and how many seeds of each. pages: the
    conditions of which one run gets a page of its own."""

    name: str
    root: Path
    conditions: tuple[Condition, ...]
    runs: list[Planned]
    judges: tuple[str, ...]
    margin: float = MARGIN
    last_scores: int = OUTCOME["last_scores"]
    protocol: str = ""
    notebooks: tuple[str, ...] = ("noise_study", "noise_study_appendix")
    predictions: list[dict[str, Any]] = field(default_factory=list)
    swap: dict[str, Any] = field(default_factory=dict)
    pages: tuple[str, ...] = ()

    @property
    def shown(self) -> list[Planned]:
        """The runs with a page of their own: the first control run, or else the first run, of each of ``pages``."""
        runs = [[run for run in self.runs if run.condition == name] for name in self.pages]
        return [next((run for run in each if run.prior == CONTROL), each[0]) for each in runs]

    @property
    def is_reported(self) -> bool:
        """The executed notebooks are there, and no run has ended since."""
        pages = [self.root / f"{name}.ipynb" for name in self.notebooks]
        ends = (planned.path / name for planned in self.runs for name in ("metrics.json", FAILED))
        last = max((path.stat().st_mtime for path in ends if path.exists()), default=0.0)
        return all(page.exists() and page.stat().st_mtime > last for page in pages)

    def of(self, condition: str) -> list[Planned]:
        """The runs of a condition, and of those named after it: ``S2`` has those of ``S2-d8``. All without a name.

        Raises ``ConfigError`` for a name that is none."""
        names = [each.name for each in self.conditions]
        chosen = [name for name in names if name == condition or name.startswith(f"{condition}-")]
        if condition and not chosen:
            raise unknown("condition", condition, names)
        return [planned for planned in self.runs if not condition or planned.condition in chosen]


# --- reading a plan -------------------------------------------------------------------------------------------------


def read(name: str, root: str | Path | None = None) -> Study:
    """The study of that name in ganlab/study/plans, or of a YAML file; its runs lie under ``root`` (results/<name>).

    A run's folder is <condition>/<prior>-s<seed>, or <condition>/<class>/<prior>-s<seed> where a condition has several
    blocks. Within a block all priors of a seed come before the next seed, and the control's extra seeds are spread
    over them, so that a study that is broken off is a smaller study. ``order: seeds`` goes through the conditions seed
    by seed instead. Raises ``StudyError`` for a file that is no study, ``ConfigError`` for a config that cannot be.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else PLANS / f"{name}.yaml"
    if not path.exists():
        raise unknown("study", name, [*sorted(path.stem for path in PLANS.glob("*.yaml")), "the path of a .yaml file"])
    plan = _mapping(path)
    root = Path(root or Path("results") / path.stem)
    judges = list(plan.get("judges") or [])
    outcome = OUTCOME | (plan.get("outcome") or {})
    scores = outcome["last_scores"]
    if outcome["metric"] != "fd" or len(outcome) > len(OUTCOME) or not isinstance(scores, int) or scores < 1:
        raise StudyError(f"{path}: outcome is {outcome}: it takes 'metric: fd' and 'last_scores', at least 1")
    shared = {"judges": judges, "eval_extractor": judges[0]} if judges else {}
    shared |= plan.get("settings") or {}
    conditions, rounds = [], []
    for about in plan["conditions"]:
        condition, runs = _condition(about, shared, root)
        conditions.append(condition)
        rounds += runs
    _refuse_twins([condition.name for condition in conditions], "condition", str(path))
    if plan.get("order", "conditions") not in ("conditions", "seeds"):
        raise unknown("order", plan["order"], ("conditions", "seeds"))
    if plan.get("order") == "seeds":
        rounds.sort(key=lambda pair: pair[0])
    _check_names(plan, [condition.name for condition in conditions])
    about = {key: plan[key] for key in ("margin", "protocol", "predictions", "swap") if plan.get(key)}
    about["pages"] = tuple(plan.get("pages") or [conditions[0].name])
    if plan.get("notebooks"):
        about["notebooks"] = tuple(_plain(page, "notebook") for page in plan["notebooks"])
    runs = [planned for _, planned in rounds]
    judges = tuple(judges or runs[0].config.final_judges())
    return Study(path.stem, root, tuple(conditions), runs, judges, last_scores=scores, **about)


class _PlainLoader(yaml.SafeLoader):
    """Takes no aliases: a few lines of them can stand for more than the memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("a plan takes no aliases such as *name")
        return super().compose_node(parent, index)


def _mapping(path: Path) -> dict[str, Any]:
    """The file as a mapping whose keys are known. Raises ``StudyError``."""
    wanted = "it takes 'conditions', each with a name, a list of priors and one of seeds"
    try:
        plan = yaml.load(path.read_text(), _PlainLoader)
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:  # an invalid date, bytes that are not text
        raise StudyError(f"{path} cannot be read ({' '.join(str(error).split())}): {wanted}") from None
    listed = plan.get("conditions") if isinstance(plan, dict) else None
    if not isinstance(listed, list) or not listed or not all(isinstance(about, dict) for about in listed):
        raise StudyError(f"{path} is no study: {wanted}")
    kinds = {key: list for key in ("judges", "notebooks", "pages", "predictions")}
    kinds |= {key: dict for key in ("settings", "outcome", "swap")}
    for part, keys in ((plan, STUDY_KEYS), *((about, CONDITION_KEYS) for about in listed)):
        for key, value in part.items():
            if key not in keys:
                raise unknown("key of a plan", key, keys)
            kind = kinds.get(key)
            if kind and value is not None and not isinstance(value, kind):
                raise StudyError(f"{path} is no study ({key} is {value!r}): {wanted}")
    for about in listed:
        for key in ("name", "priors", "seeds"):
            if key not in about:
                raise StudyError(f"{path}: condition {about.get('name', '?')} has no {key}: {wanted}")
        for key in ("priors", "seeds", "blocks", "control_seeds"):
            if not isinstance(about.get(key, []), list):
                raise StudyError(f"{path}: {key} of condition {about['name']} is {about[key]!r}: give a list")
        if not about["priors"] or not about["seeds"]:
            raise StudyError(f"{path}: condition {about['name']} has no prior or no seed: name at least one of each")
    return plan


def _check_names(plan: dict[str, Any], names: list[str]) -> None:
    """Raises ``ConfigError`` where predictions, swap or pages name no condition, and for a margin below 1."""
    predictions = plan.get("predictions") or []
    if not all(isinstance(about, dict) and {"statement", "kind"} <= set(about) for about in predictions):
        raise ConfigError(f"predictions are {predictions}: each is a mapping with 'statement' and 'kind'")
    asked = [about["condition"] for about in predictions if "condition" in about]
    swap = plan.get("swap") or {}
    if not isinstance(swap.get("conditions", []), list) or not isinstance(swap.get("seeds", 1), int):
        raise ConfigError(f"swap is {swap}: it takes 'conditions', a list, and 'seeds', a number of them")
    for name in [*asked, *swap.get("conditions", []), *(plan.get("pages") or [])]:
        if name not in names:
            raise unknown("condition", name, names)
    margin = plan.get("margin", MARGIN)
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not margin > 1:
        raise ConfigError(f"margin is {margin!r}: give a ratio above 1, as 1.1 for 10 %")


def _condition(
    about: dict[str, Any], shared: dict[str, Any], root: Path
) -> tuple[Condition, list[tuple[int, Planned]]]:
    """A condition and its runs in order, each with the number of its round."""
    name = _plain(about["name"], "condition")
    settings = shared | (about.get("settings") or {})
    blocks = [_plain(block, "block") for block in about.get("blocks") or []]
    entries = [_treatment(entry) for entry in about["priors"]]
    _refuse_twins([prior for prior, _ in entries], "prior", name)
    treatments = dict(entries)
    seeds, control_seeds = about["seeds"], about.get("control_seeds") or about["seeds"]
    for listed, what in ((blocks, "block"), (seeds, "seed"), (control_seeds, "control seed")):
        _refuse_twins(listed, what, name)
    runs = []
    for block in blocks or [""]:
        folder = root / name / block if len(blocks) > 1 else root / name
        classes = {} if not block else {"classes": [] if block == ALL else [block]}
        for place, prior, seed in _in_order(list(treatments), seeds, control_seeds):
            values = {**settings, **classes, **treatments[prior], "seed": seed}
            try:
                config = Config.from_preset(**values)
            except TypeError as error:
                raise ConfigError(f"condition {name}: {error}") from None
            shown = block or ("-".join(config.classes) or ALL)
            runs.append((place, Planned(name, shown, prior, seed, config, folder / f"{prior}-s{seed}")))
    _refuse_equal(treatments, settings, name)
    if about.get("pilot"):
        runs += _pilot(root.parent / str(about["pilot"]), [run for _, run in runs])
    named = tuple(dict.fromkeys(run.block for _, run in runs))
    title = str(about.get("title", name))
    return Condition(name, title, named), runs


def _pilot(folder: Path, runs: list[Planned]) -> list[tuple[int, Planned]]:
    """The finished runs of the pilot in that folder, as control runs of the block whose class they were trained on.

    Raises ``StudyError`` for a run of other settings than the control's."""
    found = []
    for path in sorted(folder.glob(f"{CONTROL}-s*")):
        run = Run(path)
        if not run.finished_epochs:
            continue
        config = run.config
        twin = next((each for each in runs if each.prior == CONTROL and each.config.classes == config.classes), None)
        differs = config.differences(twin.config.replace(seed=config.seed)) if twin else [f"classes {config.classes}"]
        if differs:
            raise StudyError(f"{path} is no control run of condition {runs[0].condition} ({'; '.join(differs)})")
        found.append((len(runs), replace(twin, seed=config.seed, config=config, path=path)))
    return found


def _treatment(entry: Any) -> tuple[str, dict[str, Any]]:
    """(name, fields of Config) of an entry of ``priors``: a prior's name, or {name, prior, scaling}."""
    if not isinstance(entry, dict):
        return _plain(entry, "prior"), {"prior": entry}
    if set(entry) != {"name", "prior", "scaling"}:
        raise StudyError(f"the prior {entry} is not plain: give a name, or a mapping with name, prior and scaling")
    return _plain(entry["name"], "prior"), {"prior": entry["prior"], "scaling": entry["scaling"]}


def _in_order(names: list[str], seeds: list[int], control_seeds: list[int]) -> list[tuple[int, str, int]]:
    """(round, prior, seed): the control first in each round, its extra seeds spread evenly."""
    order, controls = [], control_seeds if CONTROL in names else []
    for place, seed in enumerate(seeds):
        mine = slice(place * len(controls) // len(seeds), (place + 1) * len(controls) // len(seeds))
        order += [(place, CONTROL, other) for other in controls[mine]]
        order += [(place, name, seed) for name in names if name != CONTROL]
    return order


def _plain(name: Any, what: str) -> str:
    """The name as text. Raises ``StudyError`` for one that is no plain part of a path."""
    if not isinstance(name, str | int) or isinstance(name, bool) or not PLAIN.fullmatch(str(name)):
        raise StudyError(f"{what} {name!r} is no plain name: use letters, digits, '.', '_' and '-', as names are paths")
    return str(name)


def _refuse_twins(names: list[Any], what: str, where: str) -> None:
    """Names that differ only in case count as twins: some file systems cannot tell them apart."""
    lowered = [str(name).lower() for name in names]
    for name, key in zip(names, lowered, strict=True):
        if lowered.count(key) > 1:
            raise StudyError(f"{where} names {what} {name!r} twice: name each once")


def _refuse_equal(treatments: dict[str, dict[str, Any]], settings: dict[str, Any], where: str) -> None:
    """Raises ``StudyError`` for two treatments that draw the same latents, ``ConfigError`` for an unknown prior."""
    uniforms = priors.uniforms(64, int(settings.get("latent_dim", 100)), torch.Generator().manual_seed(0))
    drawn: dict[str, torch.Tensor] = {}
    for name, fields in treatments.items():
        scaling = fields.get("scaling", settings.get("scaling", "standardised"))
        latents = priors.get(fields["prior"], scaling).icdf(uniforms)
        for other, theirs in drawn.items():
            if torch.allclose(latents, theirs, atol=1e-6):
                raise StudyError(f"condition {where}: {name} is {other} under scaling {scaling}: keep one of them")
        drawn[name] = latents


# --- how far it is --------------------------------------------------------------------------------------------------


def status(study: Study, condition: str = "") -> dict[str, Any]:
    """How many runs are in each state, ``all``, and ``seconds_left``: for each run that is not done the mean of its
    condition's finished runs, on one worker; None until a run is finished."""
    runs = study.of(condition)
    states = {run.path: run.status for run in runs}
    counts: dict[str, Any] = {state: list(states.values()).count(state) for state in STATES}
    taken: dict[str, list[float]] = {}
    for run in runs:
        if states[run.path] == "done":
            taken.setdefault(run.condition, []).append(seconds(Run(run.path)))
    every = [value for values in taken.values() for value in values]
    left = [run for run in runs if states[run.path] in ("running", "half done", "left")]
    means = [sum(taken.get(run.condition, every)) / len(taken.get(run.condition, every)) for run in left if every]
    return {**counts, "all": len(runs), "seconds_left": sum(means) if every else None}


def seconds(run: Run) -> float:
    """What a finished run took, training and scores."""
    metrics = run.metrics
    return metrics["training_seconds"] + metrics["scoring_seconds"]
