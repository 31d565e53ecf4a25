"""A sample of the faults that ``make faults`` tries in full."""

import faults
import numpy as np
import pytest


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "each"), [("training", 7), ("scored training", 2), ("study", 3), ("caches", 11)])
def test_whatever_happens_at_a_write_the_same_work_ends_with_the_same_bytes(scenario, each):
    """each: moments of each of five faults; 115 points in all."""
    wanted, moments = faults.undisturbed(scenario)
    stream = np.random.default_rng(len(scenario))
    for fault in (*faults.DEATHS, *faults.REFUSALS):
        chosen = stream.choice(np.arange(1, moments + 1), size=each, replace=False)
        found = [faults.problem(scenario, fault, int(moment), wanted) for moment in chosen]
        assert not any(found), "\n".join(words for words in found if words)


@pytest.mark.slow
def test_changed_bytes_are_read_or_answered_with_a_sentence():
    for reader, (cases, refused, wrong) in faults.fuzz(60, seed=1).items():
        assert not wrong, wrong[0]
        assert refused or reader in ("config.json", "plan"), f"{reader}: not one of {cases} was noticed"
