"""The web page in Chromium, from a plain static server in a sub-path: it draws what PyTorch draws, and calls nobody."""

import json
import os
import re

import browser
import numpy as np
import pytest
import torch
from conftest import ROOT, TINY
from filelock import FileLock

from ganlab import priors
from ganlab.config import Config
from ganlab.explorer.generators import read
from ganlab.networks.generators import generate
from ganlab.run import Run
from ganlab.site import build as building
from ganlab.site import export as exporting
from ganlab.site.export import export
from ganlab.training import train

pytest.importorskip("onnxscript", reason="needs pip install -e '.[site]'")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    try:
        building.runtime()
    except building.SiteError as error:
        pytest.skip(str(error))
    root = tmp_path_factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "server"  # one for all processes
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            building.build(folder / "below" / "site")
    return folder


@pytest.fixture(scope="module")
def opened(site):
    """(tab, addresses that it asked for, errors of its console)."""
    if not browser.CHROMIUM:
        pytest.skip("needs Chromium: install it, or name it in CHROMIUM")
    from playwright.sync_api import sync_playwright

    asked, errors = [], []
    with browser.static(site) as (server, address), sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser.CHROMIUM, args=browser.FLAGS)
        context = chromium.new_context(viewport={"width": 1000, "height": 900})
        tab = context.new_page()
        tab.set_default_timeout(browser.PATIENCE)
        context.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(f"{address}/below/site/")
        tab.wait_for_selector("html[data-ready]")
        tab.address, tab.server = address, server
        yield tab, asked, errors
        chromium.close()


def set_and_look(tab, panel: str, **values) -> np.ndarray:
    """Sets labelled controls of a panel, waits for its pictures; uint8 (pictures, R, R, 3)."""
    return np.array(tab.evaluate(
        """async ([id, values]) => {
            const panel = document.getElementById(id);
            for (const [label, value] of Object.entries(values)) {
                const control = panel.querySelector(`[aria-label="${label.replaceAll("_", " ")}"]`);
                const drawn = new Promise((resolve) => panel.addEventListener("drawn", resolve, { once: true }));
                control.value = value;
                control.dispatchEvent(new Event(control.tagName === "SELECT" ? "change" : "input", { bubbles: true }));
                await drawn;
            }
            return [...panel.querySelectorAll("canvas")].map((canvas) =>
                [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]);
        }""",
        [panel, values],
    ), np.uint8).reshape(-1, 32, 32, 4)[..., :3]  # fmt: skip


def drawn(folder: str, latents: torch.Tensor) -> np.ndarray:
    return read(ROOT / folder).draw(latents).permute(1, 2, 0).numpy()


def apart(seen: np.ndarray, wanted: np.ndarray) -> int:
    return np.abs(seen.astype(int) - wanted).max()


@pytest.mark.browser
def test_seven_priors_draw_what_pytorch_draws(opened):
    tab, _, _ = opened
    seen = set_and_look(tab, "priors", from_seed=3, to_seed=17, t=0.4)
    assert len(seen) == len(priors.CORE)
    for image, name in zip(seen, priors.CORE, strict=True):
        folder = building.OF_PRIORS.format(prior=name)
        trained = read(ROOT / folder)
        z = trained.prior.interpolate(trained.uniforms(3), trained.uniforms(17), 0.4)
        assert apart(image, drawn(folder, z)) <= 2, name


@pytest.mark.browser
@pytest.mark.parametrize("path", priors.PATHS)
def test_every_path_draws_what_pytorch_draws(opened, path):
    tab, _, _ = opened
    for name in ("cars", "poisson"):
        seen = set_and_look(tab, "interpolation", generator=name, path=path, from_seed=5, to_seed=9, t=0.3)
        folder = building.MAIN if name == "cars" else building.OF_PRIORS.format(prior=name)
        trained = read(ROOT / folder)
        ends = trained.uniforms(5), trained.uniforms(9)
        for image, t in zip(seen, (0, 0.3, 1), strict=True):
            z = priors.PATHS[path](trained.prior, *ends, t)
            assert apart(image, drawn(folder, z)) <= 2, (name, t)


@pytest.mark.browser
def test_directions_draw_what_pytorch_draws(opened):
    tab, _, _ = opened
    (seen,) = set_and_look(tab, "directions", generator="laplacian", seed=4, direction_2=-3.5)
    trained = read(ROOT / building.OF_PRIORS.format(prior="laplacian"))
    z = trained.along(trained.prior.icdf(trained.uniforms(4)), [0, -3.5])
    assert apart(seen, drawn(building.OF_PRIORS.format(prior="laplacian"), z)) <= 2


@pytest.mark.browser
def test_a_slider_moves_by_keyboard_and_every_control_has_a_name(opened):
    tab, _, _ = opened
    before = set_and_look(tab, "priors", t=0)
    handle = tab.locator("#priors").get_by_role("slider", name="push 1", exact=True)
    handle.press("End")
    tab.wait_for_function("() => document.querySelector('#priors [role=status]').textContent === ''")
    after = set_and_look(tab, "priors", t=0.01)
    assert min(np.abs(after.astype(int) - before).mean((1, 2, 3))) > 0.5
    handle.press("Home")
    unnamed = tab.evaluate("""() => [...document.querySelectorAll("input, select, button, canvas")].filter((control) =>
        !(control.getAttribute("aria-label") || control.textContent.trim())).map((control) => control.outerHTML)""")
    assert unnamed == []


@pytest.mark.browser
def test_it_asks_no_other_host_and_the_console_stays_empty(opened):
    tab, asked, errors = opened
    assert len(asked) > 10 and [url for url in asked if not url.startswith(tab.address + "/below/site/")] == []
    assert errors == []


@pytest.mark.browser
def test_no_page_scrolls_sideways_or_asks_another_host(opened, site):
    tab, asked, _ = opened
    other = tab.context.new_page()
    wide = []
    for path in sorted((site / "below" / "site").rglob("*.html")):
        other.goto(f"{tab.address}/{path.relative_to(site).as_posix()}")
        if other.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            wide.append(path.name)
    other.close()
    assert wide == []
    assert [url for url in asked if not url.startswith((tab.address, "data:"))] == []


@pytest.mark.browser
def test_the_next_visit_needs_no_network(opened):
    tab, _, errors = opened
    tab.evaluate("() => navigator.serviceWorker.ready.then(() => true)")
    point = {"from_seed": 7, "t": 0, "push_1": 0.5}
    before = set_and_look(tab, "priors", **point)
    tab.server.shutdown()
    tab.server.server_close()
    tab.reload()
    tab.wait_for_selector("html[data-ready]")
    assert apart(set_and_look(tab, "priors", **point), before) == 0
    assert errors == []


# --- the files --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "conditional"), [("sngan", True), ("t2", False), ("sngan-resnet", True)])
def test_an_exported_generator_draws_what_pytorch_draws(preset, conditional, tmp_path):
    import onnxruntime

    run = Run(tmp_path)
    for _ in train(Config.from_preset(preset, **TINY | {"epochs": 1, "limit": 32, "conditional": conditional}), run):
        pass
    generator, config = run.read_generator()
    session = onnxruntime.InferenceSession(export(run, tmp_path / "g.onnx"))
    feeds = {"z": priors.get(config.prior, config.scaling).sample(3, config.latent_dim).numpy()}
    if conditional:
        feeds["label"] = np.array([0, 3, 7])
    seen = session.run(["images"], feeds)[0].round().astype(np.uint8)
    wanted = generate(generator, *(torch.from_numpy(given) for given in feeds.values())).numpy()
    assert np.abs(seen.astype(int) - wanted).max() <= 1
    assert json.loads(session.get_modelmeta().custom_metadata_map["config"]) == config.to_dict()


@pytest.mark.slow
def test_an_export_that_draws_something_else_is_refused(finished_run, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "MOST_APART", 0.0)
    with pytest.raises(exporting.ExportError, match="away from PyTorch: nothing was written"):
        export(finished_run, tmp_path / "g.onnx")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(exporting.ExportError, match="ending in .onnx"):
        export(finished_run, tmp_path / "g.pt")


@pytest.mark.slow
def test_every_link_between_its_pages_leads_somewhere(site):
    folder, dead = site / "below" / "site", []
    for page in folder.rglob("*.html"):
        for link in re.findall(r'\b(?:href|src)="([^"]+)"', page.read_text()):
            if not re.match(r"[a-z]+:|#", link) and not (page.parent / link.split("#")[0]).exists():
                dead.append((page.name, link))
    assert dead == []


@pytest.mark.slow
def test_curves_are_the_priors_quantiles(site):
    about = json.loads((site / "below" / "site" / "explorer.json").read_text())
    scores = torch.linspace(-5, 5, 999, dtype=torch.float64)
    for run in about["generators"]:
        curve, prior = run["curve"], priors.get(run["prior"], "standardised")
        if "thresholds" in curve:
            found = np.array(curve["values"])[np.searchsorted(curve["thresholds"], scores.numpy(), side="right")]
        else:
            knots = curve["low"] + curve["step"] * np.arange(len(curve["values"]))
            found = np.interp(scores.numpy(), knots, curve["values"])
        wanted = prior.icdf(torch.special.ndtr(scores)).numpy()
        assert np.abs(found - wanted).max() < 1e-4, run["prior"]


@pytest.mark.slow
def test_a_damaged_runtime_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("GANLAB_CACHE", str(tmp_path))
    (tmp_path / f"onnxruntime-web-{building.RUNTIME}.tgz").write_bytes(b"planted")
    with pytest.raises(building.SiteError, match="not the package that was published"):
        building.runtime()
