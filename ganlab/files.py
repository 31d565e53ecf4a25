"""The one writer of files, checksums, and pictures as PNG files.

Every file is written to a neighbour first and then renamed, so a kill at any moment leaves the old file or the new
one. Knows no run.
"""

import contextlib
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ganlab.errors import GanlabError, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class FileError(GanlabError):
    """A file that cannot be written."""


def write_atomic(path: Path, writer: Callable[[Path], object], shown: Path | None = None) -> Path:
    """``writer`` fills a temporary neighbour, which then takes the name: readers see the old file or the new one.

    shown: the path as sentences have it, which is returned; by default ``path``. Raises ``FileError``.
    """
    with clear_os_errors(shown or path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}.tmp")
        try:
            writer(temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)  # half a file would keep a full disk full
        _sync_folder(path.parent)
    return shown or path


def clear_litter(folder: Path, seconds: float = 3600) -> None:
    """Deletes temporary files so old that their process must have ended, as killed ones leave them."""
    with contextlib.suppress(OSError):  # no right to, or another process was quicker
        for path in folder.glob(".*.tmp"):
            if time.time() - path.stat().st_mtime > seconds:
                path.unlink()


def _sync_folder(folder: Path) -> None:
    """Makes a rename last through a power cut, where the system can."""
    with contextlib.suppress(OSError):  # Windows opens no folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def clear_os_errors(path: Path) -> Iterator[None]:
    """Turns the system's errors at ``path`` into a ``FileError``."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "inline_container" not in str(error):  # torch's own writer
            raise
        said = getattr(error, "strerror", None) or "the disk took only a part of it"
        raise FileError(
            f"cannot write {shortened(path)} ({said}): make room there, or choose another folder with --out"
        ) from None


def tile(images: torch.Tensor, columns: int = 8, gap: int = 1) -> np.ndarray:
    """uint8 (N, 3, H, W) -> one white-gapped sheet uint8 (rows, columns, 3), filled row by row."""
    n, _, height, width = images.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for place, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        y, x = place // columns * (height + gap), place % columns * (width + gap)
        sheet[y : y + height, x : x + width] = image
    return sheet


def untile(sheet: np.ndarray, images: int) -> torch.Tensor:
    """Images of a sheet of ``tile``, eight a row, spread evenly over its rows: uint8 (images, 3, R, R)."""
    side = (sheet.shape[1] + 1) // 8 - 1
    rows = (sheet.shape[0] + 1) // (side + 1)
    places = [(place * rows // images * (side + 1), place % 8 * (side + 1)) for place in range(images)]
    cut = np.stack([sheet[y : y + side, x : x + side] for y, x in places])
    return torch.from_numpy(cut).permute(0, 3, 1, 2)


def write_png(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path, format="PNG", optimize=True)


def figure_png(figure: "Figure") -> bytes:
    """A figure as a PNG file of 256 colours: images take half the bytes, and few eyes see it at their size."""
    from PIL import Image

    file, small = io.BytesIO(), io.BytesIO()
    figure.savefig(file, format="png")
    picture = Image.open(file).convert("RGB").quantize(256, kmeans=1, dither=Image.Dither.NONE)
    picture.save(small, format="PNG", optimize=True)
    return small.getvalue()


def read_png(path: Path) -> np.ndarray:
    """uint8 (H, W, 3)."""
    from PIL import Image

    with Image.open(path, formats=("PNG",)) as image:
        return np.asarray(image.convert("RGB"))


def tensor_checksum(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of names and values, whatever their order in a file."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(key.encode())
        digest.update(tensors[key].contiguous().numpy().data)
    return digest.hexdigest()


def json_checksum(values: dict[str, Any]) -> str:
    """SHA-256 of values, whatever their order and spacing in a file."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def line_checksum(path: Path, lines: int) -> str:
    """SHA-256 of the first lines of a text file, whatever ends them."""
    return hashlib.sha256(b"\n".join(path.read_bytes().splitlines()[:lines])).hexdigest()


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """An .npz under exactly that name: given one, NumPy would add its own ending."""
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)
