"""The README's verdicts are the tables': its four rows, and the numbers of the answer on the study's page."""

import re

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from ganlab.study import statistics

STUDY = ROOT / "results" / "noise-study"
JUDGE = "efficientnet_lite0"


@pytest.fixture(scope="module")
def rows() -> dict[str, str]:
    """The README's verdicts: a row's text by what stands in its last column, as ``P1``."""
    table = re.search(r"\| what changes \|.*?\n\n", (ROOT / "README.md").read_text(), re.DOTALL).group(0)
    lines = [line.strip("| ").split(" | ") for line in table.strip().splitlines()[2:]]
    return {re.sub(r"\W.*", "", cells[-1].lstrip("[")): " | ".join(cells) for cells in lines}


@pytest.fixture(scope="module")
def verdicts() -> pd.DataFrame:
    table = pd.read_csv(STUDY / "verdicts.csv")
    return table[table["judge"] == JUDGE].set_index(["condition", "prior"])


def said(row: pd.Series) -> str:
    return f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def span(rows: pd.DataFrame) -> str:
    return f"{rows['low'].min():.2f} to {rows['high'].max():.2f}"


def test_there_are_four_rows(rows):
    assert list(rows) == ["P1", "P2", "S1", "first"]


@pytest.mark.parametrize("condition", ["P1", "P2"])
def test_the_span_of_all_intervals_is_the_tables(rows, verdicts, condition):
    here = verdicts.loc[condition]
    assert f"| {span(here)} |" in rows[condition]
    equivalent = (here["verdict"] == "equivalent").sum()
    words = {len(here): "all", 0: "none"}.get(equivalent, str(equivalent))
    assert f"{words} of the {len(here)} priors" in rows[condition]
    assert not (here["verdict"] == "different").any()


def test_a_raw_mean_and_a_centred_one_are_the_tables(rows, verdicts):
    assert said(verdicts.loc[("S1", "exponential-raw")]) in rows["S1"]
    assert said(verdicts.loc[("S1", "exponential-centred")]) in rows["S1"]


def test_the_latent_size_is_the_first_rounds(rows):
    runs = pd.read_csv(STUDY / "pilot_first_round.csv")
    control = runs[(runs["prior"] == "gaussian") & (runs["condition"] != "conv-noise-d100")]
    few, many = (control.loc[control["latent_dim"] == d, "log_fd_cifar_resnet"].to_numpy() for d in (8, 100))
    ratio, low, high = np.exp(statistics.two_samples(few, many))
    assert f"{ratio:.2f} ({low:.2f} to {high:.2f})" in rows["first"]


def test_the_answer_on_the_page_has_the_same_numbers(verdicts):
    answer = (STUDY / "ANSWER.md").read_text()
    assert span(verdicts.loc["P1"]) in answer
    assert said(verdicts.loc[("S1", "exponential-raw")]) in answer
