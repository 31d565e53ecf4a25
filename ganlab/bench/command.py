"""``ganlab bench``. Heavy imports wait until it is called."""

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="results/bench", metavar="DIR", help="(default results/bench)")
    parser.add_argument("--rounds", type=int, default=6, help="times that all take turns, at least 5 (default 6)")
    parser.add_argument("--resolutions", action="store_true", help="speed and memory at 32, 64, 128")
    parser.add_argument("--precisions", action="store_true", help="every preset in fp32 and in bf16")
    parser.add_argument("--race", type=float, metavar="MINUTES", help="train for so long and score on the way")
    words = "of a race: plain | sngan | fast | 'fast, 32 channels' | 'fast, ten classes' | 'fast, conditional'"
    parser.add_argument("--contenders", nargs="+", default=["plain", "sngan", "fast"], metavar="NAME", help=words)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of a race (default 0)")


def main(options: dict[str, Any]) -> None:
    """Measures what was asked, and prints it as it comes."""
    from ganlab.bench import race, throughput, waits

    out = Path(options["out"])
    for name in ("resolutions", "precisions"):
        if options[name]:
            for row in getattr(throughput, name)(out):
                print(one_line(row), flush=True)
            print(f"{out}: {name}.md")
            return
    if options["race"] is None:
        for table in waits.measure(out, options["rounds"]):
            print(table.to_string(index=False, float_format=lambda x: f"{x:.3g}", na_rep=""), end="\n\n")
        print(f"{out}: bench.md, bench.json")
        return
    for seed in options["seeds"]:
        for contender in options["contenders"]:
            for table in race.run_race(out, contender, options["race"], seed):
                print(table.to_string(index=False, float_format=lambda x: f"{x:.4g}"), flush=True)
    print(race.draw_race(out))


def one_line(row: dict[str, Any]) -> str:
    return "  ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
    )
