"""A run's folder: the only module that knows where files lie. Never trains, never draws.

``files`` writes every file, so a kill leaves the old file or the new one. The checkpoint before the last is kept too,
for the day the last one turns out damaged.
"""

import contextlib
import json
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from ganlab import files
from ganlab.choices import GENERATORS, function
from ganlab.config import Config
from ganlab.data import ImageSet
from ganlab.errors import GanlabError

if TYPE_CHECKING:
    from IPython.display import Image
    from matplotlib.figure import Figure

LOCK_SECONDS = 2.0  # to wait for a folder: a killed process, or one that only looks, frees it within that time
RESTORE = "restore it, or delete it and run the training command again"
GENERATOR_FILES = ("generator.safetensors", "best.safetensors")  # the final one, the best one


class RunError(GanlabError):
    """A run folder that cannot be used as asked."""


class Run:
    """The files of one run under ``path``. Nothing but a lock is created before ``claim``."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self._folder = self.path.absolute()  # where it stays when the working folder changes
        self.checkpoint_path = self._folder / "checkpoint.pt"
        self.previous_path = self._folder / "checkpoint.previous.pt"
        self._held: tuple[filelock.BaseFileLock, int] | None = None  # the lock that was taken, its file's inode

    # --- who may write here

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps a second process out. The lock dies with its process, so a killed run leaves none behind."""
        self._take_lock()
        try:
            yield
        finally:
            self._held[0].release()
            self._held = None

    def _take_lock(self) -> None:
        with files.clear_os_errors(self.path):
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self._folder / ".lock")
            try:
                lock.acquire(timeout=LOCK_SECONDS)
            except filelock.Timeout:
                raise RunError(
                    f"another process is training in {self.path}: wait for it, or choose another folder"
                ) from None
            self._held = lock, os.stat(lock.lock_file).st_ino

    def _keep_lock(self) -> None:
        """Takes the lock again if its file was deleted. Raises ``RunError`` if another file is there: whoever made it
        may have trained on."""
        try:
            found = os.stat(self._folder / ".lock").st_ino
        except FileNotFoundError:
            return self._take_lock()
        if found != self._held[1]:
            raise RunError(
                f"the .lock of {self.path} was deleted, and another process has trained there since, so this one "
                "stops: leave the run to the other, or give the same command again once that has ended"
            )

    @property
    def is_locked(self) -> bool:
        """Whether a process is training here now."""
        if not (self._folder / ".lock").exists():
            return False
        try:
            with filelock.FileLock(self._folder / ".lock", timeout=0):
                return False
        except filelock.Timeout:
            return True

    def check(self, config: Config, data: ImageSet) -> None:
        """Raises ``RunError`` if the folder belongs to another run, naming the fields, or is past ``config.epochs``."""
        kept, done = self._kept(), self.finished_epochs
        if kept is None:
            return
        before = Config.from_dict(kept["config"])  # a field younger than the run has its default there
        before = before.resolved(data.names, "auto")  # as runs were kept before their config was resolved
        fingerprint = str(kept["data"].get("fingerprint"))
        if before.identity(fingerprint) != config.identity(data.fingerprint):
            fields = config.differences(before)
            if fingerprint != data.fingerprint:
                fields.append("the images (other pixels, labels or order)")
            raise RunError(f"{self.path} holds another run ({'; '.join(fields)}): choose another folder, or delete it")
        self._check_epochs(done, config)

    def _kept(self) -> dict[str, Any] | None:
        """config and data of the run in the folder, from config.json or, where that was lost, from a checkpoint.

        None in a new folder. Raises ``RunError`` for a checkpoint that does not tell."""
        if (self._folder / "config.json").exists():
            return {part: self._part(part) for part in ("config", "data")}
        state = self.read_checkpoint()
        if state is None:
            return None
        if not isinstance(state.get("run"), dict):
            raise RunError(f"{self.path} holds a checkpoint but no config.json: restore it, or choose another folder")
        return state["run"]

    def _check_epochs(self, done: int, config: Config) -> None:
        if done > config.epochs:
            raise RunError(f"{self.path} has already run {done} epochs: ask for more, or choose another folder")

    def claim(self, config: Config, data: ImageSet) -> None:
        """Makes the folder this config's own, and clears what a killed process left half written."""
        for folder in ("", "samples", "figures"):  # not deeper, where other runs may lie
            for litter in (self._folder / folder).glob(".*.tmp"):
                litter.unlink(missing_ok=True)
        identity = config.identity(data.fingerprint)
        self.write_json("config.json", {"identity": identity, **self.described(config, data)})

    @staticmethod
    def described(config: Config, data: ImageSet) -> dict[str, Any]:
        """What makes a run: its config, and the images it is trained on."""
        about = {"fingerprint": data.fingerprint, "source": data.source, "split": data.split,
                 "images": len(data), "names": data.names}  # fmt: skip
        return {"config": config.to_dict(), "data": about}

    # --- what the folder says

    @property
    def config(self) -> Config:
        return Config.from_dict(self._part("config"))

    @property
    def images(self) -> int:
        """How many images its data are."""
        return self._part("data")["images"]

    @property
    def metrics(self) -> dict[str, Any]:
        """What the finished run reached."""
        return self.read_json("metrics.json")

    @property
    def finished_epochs(self) -> int:
        """Epochs of the finished run; 0 while there is none."""
        return self._part("epochs", "metrics.json", int) if (self._folder / "metrics.json").exists() else 0

    def is_finished(self, config: Config) -> bool:
        """Whether there is nothing left to do: the metrics say so, generator and history are there."""
        there = all((self._folder / name).exists() for name in (GENERATOR_FILES[0], "history.csv"))
        return there and self.finished_epochs == config.epochs

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch, so far. Raises ``RunError`` if the epochs of a finished run are not those it had."""
        path = self._folder / "history.csv"
        if not path.exists():
            return pd.DataFrame()
        epochs = self.finished_epochs
        try:
            if epochs and self.metrics.get("history_sha256") not in (None, files.line_checksum(path, epochs + 1)):
                raise ValueError("its checksum is wrong")
            return pd.read_csv(path)
        except ValueError as error:
            raise RunError(f"{self.path / path.name} is damaged ({error}): {RESTORE}") from None

    def grids(self) -> dict[int, Path]:
        """Snapshot grids by epoch."""
        found = {int(re.sub(r"\D", "", path.stem)): path for path in (self._folder / "samples").glob("epoch_*.png")}
        return dict(sorted(found.items()))

    def snapshots(self) -> dict[int, np.ndarray]:
        """Snapshot grids by epoch, uint8 (H, W, 3)."""
        return {epoch: files.read_png(path) for epoch, path in self.grids().items()}

    def frames(self, images: int = 16) -> list[torch.Tensor]:
        """Images of each snapshot grid, uint8 (images, 3, R, R), by epoch: the same latents every time."""
        return [files.untile(grid, images) for grid in self.snapshots().values()]

    def _part(self, name: str, file: str = "config.json", kind: type = dict) -> Any:
        """A part of a JSON file. Raises ``RunError`` if it is not there."""
        part = self.read_json(file).get(name)
        if not isinstance(part, kind):
            raise RunError(f"{self.path / file} is damaged (no {name}): {RESTORE}")
        return part

    def read_json(self, name: str) -> dict[str, Any]:
        """What ``write_json`` wrote. Raises ``RunError`` for a file that is missing, damaged or was changed."""
        try:
            found = json.loads((self._folder / name).read_text())
            if not isinstance(found, dict):
                raise ValueError(f"it holds {found!r}"[:80])
            checksum = found.pop("sha256", None)  # older files have none
            if checksum not in (None, files.json_checksum(found)):
                raise ValueError("its checksum is wrong")
            return found
        except FileNotFoundError:
            raise RunError(
                f"{self.path} is no run: it has no {name}; make one with 'ganlab train --out {self.path}'"
            ) from None
        except ValueError as error:
            raise RunError(f"{self.path / name} is damaged ({error}): {RESTORE}") from None

    # --- writing

    def write(self, name: str, writer: Callable[[Path], object]) -> Path:
        """Calls ``writer`` with a temporary path and renames the result to ``name``. Raises ``RunError`` if a lock was
        taken, and now another process has it."""
        if self._held:
            self._keep_lock()
        return files.write_atomic(self._folder / name, writer, shown=self.path / name)

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """The values, and last of all their checksum."""
        values = values | {"sha256": files.json_checksum(values)}
        self.write(name, lambda path: path.write_text(json.dumps(values, indent=2) + "\n"))

    def write_metrics(self, values: dict[str, Any]) -> None:
        """What says that the run is finished: written last, with the checksum of its history."""
        told = files.line_checksum(self._folder / "history.csv", values["epochs"] + 1)
        self.write_json("metrics.json", values | {"history_sha256": told})

    def write_history(self, rows: list[dict[str, float]]) -> None:
        self.write("history.csv", lambda path: pd.DataFrame(rows).to_csv(path, index=False))

    def write_grid(self, epoch: int, images: torch.Tensor) -> None:
        self.write(f"samples/epoch_{epoch:04d}.png", lambda path: files.write_png(path, files.tile(images)))

    def write_figure(self, name: str, figure: "Figure") -> "Image":
        """Keeps a figure as figures/<name>.png and hands the picture on: a notebook's cell shows what it keeps."""
        return self.write_picture(name, files.figure_png(figure))

    def write_picture(self, name: str, png: bytes) -> "Image":
        """The same for the bytes of a PNG file, which may be animated."""
        from IPython.display import Image

        self.write(f"figures/{name}.png", lambda path: path.write_bytes(png))
        return Image(png)

    def figure(self, name: str) -> "Image | None":
        """The figure as it was last kept; None if there is none."""
        from IPython.display import Image

        path = self._folder / "figures" / f"{name}.png"
        return Image(path.read_bytes()) if path.exists() else None

    # --- weights

    def write_checkpoint(self, state: dict[str, Any]) -> None:
        """The last one becomes the previous one in the same breath."""

        def keep_previous(path: Path) -> None:
            with open(path, "wb") as file:
                torch.save(state, file)
            if self.checkpoint_path.exists():
                os.replace(self.checkpoint_path, self.previous_path)

        self.write(self.checkpoint_path.name, keep_previous)

    def read_checkpoint(self, config: Config | None = None) -> dict[str, Any] | None:
        """The newest readable checkpoint, on the CPU; None for a new run. Warns if it is not the last one.

        Raises ``RunError`` if none can be read, if it is past ``config.epochs``, or if a finished run came without
        (they are not committed): training would start over on top of its results.
        """
        present = [path for path in (self.checkpoint_path, self.previous_path) if path.exists()]
        for path in present:
            try:
                with zipfile.ZipFile(path) as archive:  # torch reads past a flipped bit; the archive's checksums do not
                    if archive.testzip():
                        raise zipfile.BadZipFile("a checksum is wrong")
                state = torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # a damaged file surfaces as any of a dozen types
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                said = f"{self.path / path.name} is damaged ({reason}); trying the checkpoint before it"
                warnings.warn(said, stacklevel=2)
                continue
            if config:
                self._check_epochs(state["counters"]["epoch"], config)
            return state
        if present:
            raise RunError(
                f"no checkpoint in {self.path} can be read: restore one, or delete checkpoint*.pt to start again"
            )
        if self.finished_epochs:
            raise RunError(
                f"{self.path} is a finished run of {self.finished_epochs} epochs without a checkpoint to go on from: "
                "choose another folder"
            )
        return None

    def write_generator(self, generator: nn.Module, config: Config, best: bool = False) -> None:
        """Matrices and kernels in fp16, vectors (norms and their buffers) in fp32; the config rides along."""
        tensors = {
            key: (value.half() if value.ndim > 1 else value).cpu().contiguous()
            for key, value in generator.state_dict().items()
        }
        told = config.to_dict() | {"sha256": files.tensor_checksum(tensors)}
        about = {"config": json.dumps(told)}  # one key: safetensors writes several in random order
        self.write(GENERATOR_FILES[best], lambda path: path.write_bytes(save(tensors, about)))

    def read_generator(self, best: bool = False) -> tuple[nn.Module, Config]:
        """(the EMA generator in evaluation mode, its config): the final one, or the best that was scored in training.

        Raises ``RunError`` if it is missing or damaged.
        """
        path = self._folder / GENERATOR_FILES[best]
        if not path.exists():
            cure = "never scored in training, or lost: use the final one" if best else "train it to its end first"
            raise RunError(f"{self.path} has no {path.name}: {cure}")
        try:
            with safe_open(path, "pt") as file:
                about = json.loads(file.metadata()["config"])
                checksum = about.pop("sha256", None)  # older runs have none
                config = Config.from_dict(about)
                weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            if checksum not in (None, files.tensor_checksum(weights)):
                raise ValueError("its checksum is wrong")
            if not all(value.isfinite().all() for value in weights.values()):
                raise ValueError("it holds NaN or infinity")
            with torch.random.fork_rng(devices=[]):  # without D, whose feature network may lie elsewhere
                generator = function("generator", GENERATORS, config.generator)(config)
            generator.load_state_dict(weights)
        except (SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            place = self.path / path.name
            raise RunError(f"{place} is damaged ({said}): delete it and run the training command again") from None
        return generator.eval(), config
