"""The explorer in a real browser. Run as a program it measures how long a slider takes and makes the README's pictures:

python tests/browser.py            # prints percentiles, writes results/explorer/*.png
"""

import contextlib
import functools
import http.server
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
# No sandbox: it cannot be had as root, as in most containers. The others keep Chromium from calling home.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
PAGES = {"voila": "/voila/render/notebooks/explorer.ipynb", "lab": "/lab/tree/notebooks/explorer.ipynb"}
PANELS = {"interpolation": 0, "every prior": 1, "directions": 2}  # in the order of the page
REFUSED = "net::ERR_FAILED"  # what Chromium says of a request that was aborted
PATIENCE = 180_000  # milliseconds, for a busy machine


def copy(folder: Path) -> Path:
    """The notebooks and the shipped generators of this checkout: JupyterLab saves what it ran, saving writes files."""
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".*"))
    for path in (ROOT / "results").rglob("generator.safetensors"):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True)
        shutil.copy(path, target)
    return folder


@contextlib.contextmanager
def server(root: Path) -> Iterator[str]:
    """A JupyterLab with the Voila extension on loopback, as ``make lab`` starts it; yields the address of a page."""
    token = secrets.token_hex(16)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ServerApp.root_dir=.",
               f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--allow-root"]  # fmt: skip
    environment = os.environ | {"JUPYTER_TOKEN": token, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until = time.monotonic() + PATIENCE / 1000
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None and time.monotonic() < until, "the server did not start"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}{{}}?token={token}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the server and the kernels that it started
        process.wait(30)


@contextlib.contextmanager
def static(folder: Path) -> Iterator[tuple[http.server.ThreadingHTTPServer, str]]:
    """(a plain server of static files on loopback, its address), as ``python -m http.server`` is one."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@contextlib.contextmanager
def page(address: str, kind: str) -> Iterator[tuple["Page", list[str]]]:  # noqa: F821
    """The explorer, run to its end in ``lab`` or ``voila``, and the errors of its console so far.

    What it asks of other machines (fonts, MathJax) is refused, and that is not counted: there may be no network.
    """
    from playwright.sync_api import sync_playwright

    errors: list[str] = []
    keep = errors.append
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1280, "height": 1000})
        tab.set_default_timeout(PATIENCE)
        tab.on("console", lambda line: keep(line.text) if line.type == "error" and REFUSED not in line.text else None)
        tab.on("pageerror", lambda error: keep(str(error)))
        tab.route(re.compile(r"^https?://(?!127\.0\.0\.1)"), lambda route: route.abort())
        tab.goto(address.format(PAGES[kind]), wait_until="commit")
        if kind == "lab":
            tab.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
            tab.get_by_role("menuitem", name="Run", exact=True).click()
            tab.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        tab.get_by_role("slider", name="direction 5").wait_for()
        tab.wait_for_function("document.querySelectorAll('.jp-OutputArea-output img').length >= 5")
        if (news := tab.get_by_role("button", name="No", exact=True)).is_visible():  # does one want Jupyter's news?
            news.click()
        yield tab, errors
        browser.close()


def slider(tab: "Page", name: str, panel: str = "interpolation") -> "Locator":  # noqa: F821
    """The slider of that label in a panel."""
    found = tab.get_by_role("slider", name=name, exact=True)
    return found.nth({"interpolation": 0, "every prior": 1}.get(panel, 0) if name == "t" else 0)


def pictures(tab: "Page", panel: str) -> "Locator":  # noqa: F821
    """The images that the sliders of a panel draw."""
    panels = tab.locator(".widget-vbox").filter(has=tab.get_by_role("button", name="save"))
    return panels.nth(PANELS[panel]).locator("figure img")


# Moves a slider again and again; shown() is a promise of the new pixels. Milliseconds from each input event to them.
TIMED = """async (slider, moves, shown) => {
    const times = [];
    for (let move = 1; move <= moves; move++) {
        const drawn = shown(), started = performance.now();
        slider.value = Number(slider.min) + (Number(slider.max) - Number(slider.min)) * move / (moves + 1);
        slider.dispatchEvent(new Event("input", { bubbles: true }));
        times.push(await drawn - started);
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return times;
}"""


def latencies(tab: "Page", name: str, panel: str, moves: int = 40) -> list[float]:  # noqa: F821
    """Milliseconds from a slider's input event to new pixels in the page, for moves one after the other."""
    picture = pictures(tab, panel).first
    handle, image = slider(tab, name, panel).element_handle(), picture.element_handle()
    return tab.evaluate(
        """([slider, image, moves]) => {
            const place = image.closest(".widget-html-content") || image.parentElement.parentElement;
            const shown = () => new Promise((resolve) => {
                const watcher = new MutationObserver(async () => {
                    const drawn = place.querySelector("img");
                    if (!drawn) return;
                    watcher.disconnect();
                    await drawn.decode();
                    requestAnimationFrame(() => resolve(performance.now()));
                });
                watcher.observe(place, { childList: true, subtree: true });
            });
            return (TIMED)(slider, moves, shown);
        }""".replace("TIMED", TIMED),
        [handle, image, moves],
    )


def site_latencies(tab: "Page", name: str, panel: str, moves: int = 40) -> list[float]:  # noqa: F821
    """The same for a panel of the static page."""
    return tab.evaluate(
        """([id, name, moves]) => {
            const panel = document.getElementById(id);
            const shown = () => new Promise((resolve) => panel.addEventListener(
                "drawn", () => requestAnimationFrame(() => resolve(performance.now())), { once: true }));
            return (TIMED)(panel.querySelector(`[aria-label="${name}"]`), moves, shown);
        }""".replace("TIMED", TIMED),
        [panel, name, moves],
    )


def report(page: str, panel: str, times: list[float]) -> None:
    times = sorted(times)
    print(f"{page}, {panel}: median {times[len(times) // 2]:.0f} ms, 95th percentile "
          f"{times[int(0.95 * len(times))]:.0f} ms of {len(times)} moves")  # fmt: skip


def measure_site() -> None:
    from playwright.sync_api import sync_playwright

    from ganlab.site.build import build

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        build(Path(folder) / "site")
        with static(Path(folder)) as (_, address):
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            tab = browser.new_page()
            tab.goto(f"{address}/site/")
            tab.wait_for_selector("html[data-ready]", timeout=PATIENCE)
            for panel, name in (("interpolation", "t"), ("priors", "t"), ("directions", "direction 1")):
                report("site", panel, site_latencies(tab, name, panel))
            browser.close()


def main() -> None:
    out = ROOT / "results" / "explorer"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, server(copy(Path(folder))) as address:
        for kind in PAGES:
            with page(address, kind) as (tab, errors):
                for panel, name in (("interpolation", "t"), ("every prior", "t"), ("directions", "direction 1")):
                    report(kind, panel, latencies(tab, name, panel))
                slider(tab, "t", "every prior").scroll_into_view_if_needed()
                tab.screenshot(path=out / f"{kind}.png")
                print(*errors, sep="\n")
    measure_site()


if __name__ == "__main__":
    main()
