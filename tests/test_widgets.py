"""The explorer's panels without a browser: what a move draws, what is saved, what is said when a run is missing."""

import asyncio
import shutil

import ipywidgets
import numpy as np
import pytest
import torch
from conftest import TINY

from ganlab import latents as latent_space
from ganlab import networks, priors
from ganlab.config import Config
from ganlab.explorer import panels, parts
from ganlab.files import read_png
from ganlab.latents import labels_in_turn
from ganlab.networks.generators import generate
from ganlab.run import Run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Untrained generators of some priors, and a conditional one; as far as a slider knows they are runs."""
    root = tmp_path_factory.mktemp("runs")
    for seed, (name, changes) in enumerate({
        "gaussian": {}, "bernoulli": {"prior": "bernoulli"}, "laplacian": {"prior": "laplacian"},
        "conditional": {"conditional": True, "classes": ["warm-disc", "cool-disc"]},
    }.items()):  # fmt: skip
        config = Config.from_preset(**TINY | {"preset": "conv-noise"} | changes)
        generator = networks.build(config, torch.Generator().manual_seed(seed))[0]
        with torch.no_grad():  # weights of N(0, 0.02) draw grey: a contrast that rounding cannot hide
            generator[0].weight.mul_(50)
        Run(root / name).write_generator(generator, config)
    return root


def controls(panel: ipywidgets.Widget) -> dict[str, ipywidgets.Widget]:
    """Every control of a panel by its label."""
    found, waiting = {}, list(panel.children)
    while waiting:
        widget = waiting.pop(0)
        waiting += getattr(widget, "children", ())
        if hasattr(widget, "description"):
            found.setdefault(widget.description, widget)
    return found


def said(panel: ipywidgets.Widget) -> str:
    return panel.children[-1].value


def saved(panel: ipywidgets.Widget, folder, monkeypatch) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(pixels, arrays) that the save button leaves."""
    monkeypatch.setattr(parts, "SAVED", folder)
    shutil.rmtree(folder, ignore_errors=True)
    controls(panel)["save"].click()
    (picture,), (arrays,) = folder.glob("*.png"), folder.glob("*.npz")
    assert picture.stem == arrays.stem and picture.name in said(panel)
    with np.load(arrays, allow_pickle=False) as file:
        return read_png(picture), dict(file)


@pytest.mark.parametrize("path", priors.PATHS)
def test_interpolation_ends_at_the_seeds_and_saves_what_it_shows(runs, tmp_path, monkeypatch, path):
    panel = panels.interpolation([str(runs / "laplacian")])
    by = controls(panel)
    by["path"].value = path
    generator, config = Run(runs / "laplacian").read_generator()
    prior = priors.get("laplacian")
    for t, seed in ((0.0, 7), (1.0, 9)):
        by["from seed"].value, by["to seed"].value, by["t"].value = 7, 9, t
        pixels, arrays = saved(panel, tmp_path / "saved", monkeypatch)
        expected = prior.sample(1, config.latent_dim, torch.Generator().manual_seed(seed))
        assert torch.equal(torch.from_numpy(arrays["latents"]), expected)
        assert np.array_equal(pixels, generate(generator, expected)[0].permute(1, 2, 0).numpy())
    by["t"].value = 0.5
    between = saved(panel, tmp_path / "saved", monkeypatch)[1]["latents"]
    ends = [priors.uniforms(1, config.latent_dim, torch.Generator().manual_seed(seed)) for seed in (7, 9)]
    assert torch.equal(torch.from_numpy(between), priors.PATHS[path](prior, *ends, 0.5))


def test_moving_t_changes_the_picture_and_its_words(runs):
    panel = panels.interpolation([str(runs / "gaussian")])
    before, by = panel.children[-3].value, controls(panel)
    by["t"].value = 0.4
    assert panel.children[-3].value != before
    assert 'alt="t = 0.40"' in panel.children[-3].value


def test_truncation_is_offered_where_the_prior_has_it(runs, tmp_path, monkeypatch):
    panel = panels.interpolation([str(runs / name) for name in ("gaussian", "bernoulli")])
    by = controls(panel)
    by["truncation"].value = 0.5
    central = saved(panel, tmp_path / "saved", monkeypatch)[1]["latents"]
    assert not by["truncation"].disabled and np.abs(central).max() < 0.675, "the quartiles of a standard normal"
    by["run"].value = str(runs / "bernoulli")
    assert by["truncation"].disabled
    assert "truncation is not defined for bernoulli" in said(panel)
    assert set(np.unique(saved(panel, tmp_path / "saved", monkeypatch)[1]["latents"])) == {-1.0, 1.0}


def test_the_class_is_chosen_in_a_conditional_run_alone(runs, tmp_path, monkeypatch):
    panel = panels.interpolation([str(runs / name) for name in ("gaussian", "conditional")])
    by = controls(panel)
    assert by["class"].layout.display == "none"
    by["run"].value = str(runs / "conditional")
    assert by["class"].layout.display is None and by["class"].options == ("warm-disc", "cool-disc")
    generator, config = Run(runs / "conditional").read_generator()
    by["class"].value = "cool-disc"
    pixels, arrays = saved(panel, tmp_path / "saved", monkeypatch)
    label = labels_in_turn(config, 1, ["cool-disc"])
    drawn = generate(generator, torch.from_numpy(arrays["latents"]), label)[0]
    assert np.array_equal(pixels, drawn.permute(1, 2, 0).numpy()) and arrays["class"] == "cool-disc"


def test_the_nearest_training_image_comes_on_demand(runs):
    panel = panels.interpolation([str(runs / "gaussian")])
    assert panel.children[-3].value.count("<img") == 1
    controls(panel)["nearest training image"].value = True
    assert panel.children[-3].value.count("<img") == 2
    assert "nearest training image, " in panel.children[-3].value


def test_the_same_uniforms_go_through_every_prior(runs, tmp_path, monkeypatch):
    folders = {name: str(runs / name) for name in ("gaussian", "laplacian", "bernoulli")}
    panel = panels.every_prior(folders)
    by = controls(panel)
    by["t"].value, by["push 1"].value, by["push 3"].value = 0.3, 0.5, -0.7
    pixels, latents = saved(panel, tmp_path / "saved", monkeypatch)
    assert pixels.shape == (32, 96, 3) and list(latents) == list(folders)
    uniforms = torch.special.ndtr(torch.from_numpy(latents["gaussian"]).double())
    torch.testing.assert_close(torch.from_numpy(latents["laplacian"]), priors.get("laplacian").icdf(uniforms),
                               atol=1e-5, rtol=1e-4)  # fmt: skip
    assert np.array_equal(latents["bernoulli"] > 0, latents["gaussian"] >= 0)
    by["t"].value, by["push 1"].value, by["push 3"].value = 0.0, 0.0, 0.0
    still = saved(panel, tmp_path / "saved", monkeypatch)[1]["gaussian"]
    expected = priors.get("gaussian").sample(1, still.shape[1], torch.Generator().manual_seed(1))
    np.testing.assert_allclose(still, expected, atol=1e-5)
    by["push 2"].value = 1.0
    pushed = saved(panel, tmp_path / "saved", monkeypatch)[1]["gaussian"]
    assert np.abs(pushed - still).max() > 0.1
    assert np.linalg.norm(pushed) == pytest.approx(np.linalg.norm(still), rel=1e-5)


def test_directions_start_at_the_seed_and_go_back_to_it(runs, tmp_path, monkeypatch):
    panel = panels.directions([str(runs / "gaussian")], k=3)
    by = controls(panel)
    start = saved(panel, tmp_path / "saved", monkeypatch)[1]["latents"]
    by["direction 2"].value = 2.0
    moved = saved(panel, tmp_path / "saved", monkeypatch)[1]["latents"]
    ways = latent_space.directions(Run(runs / "gaussian").read_generator()[0], 3)[0]
    np.testing.assert_allclose(moved - start, 2 * ways[1:2], atol=1e-5)
    by["back to the seed"].click()
    assert np.array_equal(saved(panel, tmp_path / "saved", monkeypatch)[1]["latents"], start)


def test_a_missing_or_broken_run_is_a_sentence_in_the_panel(runs, tmp_path):
    shutil.copytree(runs / "gaussian", tmp_path / "broken")
    (tmp_path / "broken" / "generator.safetensors").write_bytes(b"no weights")
    for folder, sentence in (("nowhere", "has no generator.safetensors"), ("broken", "is damaged")):
        for panel in (panels.interpolation([str(tmp_path / folder)]), panels.directions([str(tmp_path / folder)])):
            assert sentence in said(panel)
            controls(panel)["save"].click()
            assert sentence in said(panel)
    panel = panels.every_prior({"gaussian": str(runs / "gaussian"), "poisson": str(tmp_path / "nowhere")})
    assert panel.children[-3].value.count("<img") == 1 and "nowhere has no generator" in said(panel)
    panel = panels.every_prior({"poisson": str(tmp_path / "nowhere")})
    controls(panel)["save"].click()
    assert "nowhere has no generator" in said(panel)
    assert "no trained generator here" in panels.interpolation([]).value


def test_moves_that_were_overtaken_are_not_drawn():
    drawn, state = [], {"value": 0}
    latest = parts.Latest(lambda: drawn.append(state["value"]))

    async def burst() -> None:
        for value in range(100):
            state["value"] = value
            latest()
        await asyncio.sleep(0)
        state["value"] = -1
        latest()
        await asyncio.sleep(0)

    asyncio.run(burst())
    assert drawn == [99, -1]


# --- directions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["conv-noise", "dcgan"])
def test_no_direction_moves_the_first_layer_more(preset):
    config = Config.from_preset(preset, **{key: value for key, value in TINY.items() if key != "preset"})
    generator = networks.build(config, torch.Generator().manual_seed(0))[0].eval()
    place = next(i for i, layer in enumerate(generator) if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm))
    with torch.no_grad():
        generator[place].running_var.uniform_(0.1, 4)
        generator[place].weight.uniform_(-2, 2)
    stem, d = generator[: place + 1], config.latent_dim
    ways, strengths = latent_space.directions(generator, d)
    torch.testing.assert_close(ways @ ways.T, torch.eye(d), atol=1e-5, rtol=0)
    origin = stem(torch.zeros(1, d))
    moved = (stem(ways) - origin).flatten(1).norm(dim=1)
    torch.testing.assert_close(moved, strengths, rtol=1e-4, atol=1e-5)
    tries = torch.nn.functional.normalize(torch.randn(200, d, generator=torch.Generator().manual_seed(1)))
    assert (stem(tries) - origin).flatten(1).norm(dim=1).max() < moved[0]
    with pytest.raises(ValueError, match="1 to that many"):
        latent_space.directions(generator, d + 1)
