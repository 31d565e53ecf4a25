"""Images to train on: CIFAR-10 from wherever it lies, procedural shapes, or a user's own folder.

Everything comes back as one uint8 NCHW tensor in memory. The only module that downloads, and only CIFAR-10.
"""

import contextlib
import hashlib
import os
import warnings
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ganlab.config import Config
from ganlab.errors import GanlabError, unknown
from ganlab.files import FileError, clear_litter, write_atomic

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")  # what a file may be, whatever its name says
MOST_PIXELS = 50_000_000  # of one picture: beyond it a small file can fill the memory
MOST_BYTES = 8 * 2**30  # that an .npz may unpack to


class DataError(GanlabError):
    """Data that is missing, damaged or not of a layout that ganlab reads."""


@dataclass(frozen=True)
class ImageSet:
    """images: uint8 (N, 3, H, W); labels: int64 (N,) into ``names``; source: where they came from, in words."""

    images: torch.Tensor
    labels: torch.Tensor
    names: list[str]
    source: str
    split: str

    def __len__(self) -> int:
        return len(self.images)

    def first(self, n: int | None) -> "ImageSet":
        """The first n images, or all."""
        return replace(self, images=self.images[:n], labels=self.labels[:n])

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of shape, pixels, labels and class names in order: the same images from any source agree."""
        digest = hashlib.sha256(repr((tuple(self.images.shape), self.names)).encode())
        digest.update(self.images.numpy().data)
        digest.update(self.labels.numpy().data)
        return digest.hexdigest()[:16]


def load(
    dataset: str, classes: list[str] | None = None, split: str = "train", resolution: int = 32, limit: int = 0
) -> ImageSet:
    """The images of ``classes`` (all by default, in the order given), at most ``limit`` of them, at a resolution.

    dataset: ``cifar10`` (from ``GANLAB_DATA``, else torchvision's files in the cache folder, else downloaded there),
    ``shapes`` (made in memory), or the path of a folder with images, whose sub-folders are its classes.
    Raises ``ConfigError`` for an unknown class or split, ``DataError`` for data that cannot be had or read.
    """
    if split not in ("train", "test"):
        raise unknown("split", split, ("train", "test"))
    if dataset == "cifar10":
        images, labels, names, source = _cifar10(split)
    elif dataset == "shapes":
        images, labels, names = shapes(*((5000, 0) if split == "train" else (1000, 1)))
        source = "made"
    else:
        images, labels, names, source = folder(Path(dataset), resolution)
    images, labels, names = _select(images, labels, names, list(classes or names))
    if limit:
        images, labels = images[:limit], labels[:limit]
    if images.shape[-1] != resolution:
        images = _resize(images, resolution)
    return ImageSet(images.contiguous(), labels, names, source, split)


def load_data(config: Config) -> ImageSet:
    """The images that the config names."""
    return load(config.dataset, config.classes, config.split, config.resolution, config.limit)


def to_pixels(images: torch.Tensor) -> torch.Tensor:
    """[-1, 1] float -> 0..255 float32, not yet rounded."""
    return (images.float().clamp(-1, 1) + 1) * 127.5


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """[-1, 1] float -> 0..255 uint8."""
    return to_pixels(images).round().to(torch.uint8).contiguous()


def to_float(images: torch.Tensor) -> torch.Tensor:
    """0..255 uint8 -> [-1, 1] float32."""
    return images.float() / 127.5 - 1


def cache_folder() -> Path:
    """Where downloads and reference features are kept: ``GANLAB_CACHE``, else ~/.cache/ganlab."""
    return Path(os.environ.get("GANLAB_CACHE") or Path.home() / ".cache" / "ganlab")


def _select(
    images: torch.Tensor, labels: torch.Tensor, names: list[str], classes: list[str]
) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """The images of ``classes``, in the data set's order, labels renumbered to their places in ``classes``."""
    for name in classes:
        if name not in names:
            raise unknown("class", name, names)
    if classes == names:
        return images, labels, names
    renumbered = torch.full((len(names),), -1)
    for place, name in enumerate(classes):
        renumbered[names.index(name)] = place
    labels = renumbered[labels]
    kept = labels >= 0
    return images[kept], labels[kept], classes


def _resize(images: torch.Tensor, resolution: int) -> torch.Tensor:
    """Antialiased bicubic resize of uint8 images."""
    parts = [
        F.interpolate(part.float(), size=(resolution, resolution), mode="bicubic", antialias=True)
        for part in images.split(1000)
    ]
    return torch.cat([part.round().clamp(0, 255).to(torch.uint8) for part in parts])


# --- CIFAR-10 -------------------------------------------------------------------------------------------------------


def _cifar10(split: str) -> tuple[torch.Tensor, torch.Tensor, list[str], str]:
    given = os.environ.get("GANLAB_DATA")
    if not given:
        root = cache_folder()
        return *_torchvision(root, split, download=True), f"torchvision in {root}"
    path = Path(given).expanduser()
    if path.is_dir() and (path / "cifar10.npz").exists():
        path = path / "cifar10.npz"
    if path.suffix == ".npz":
        return *_unpacked(path, split), list(CIFAR10_CLASSES), path.name
    if (path / "cifar-10-batches-py").is_dir():
        return *_torchvision(path, split, download=False), "torchvision files"
    if (path / split).is_dir():
        images, labels, names, _ = folder(path / split, 32)
        return images, labels, names, "image folders"
    raise DataError(
        f"GANLAB_DATA={given} holds no CIFAR-10: it takes an .npz with x_train, y_train, x_test, y_test, "
        "a folder with torchvision's cifar-10-batches-py, or a folder with train/<class>/*.png"
    )


def _unpacked(path: Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The arrays of ``_npz``, from an uncompressed copy in the cache folder that the first call makes.

    The copy is mapped into memory: the next start takes no time, and processes side by side share its pages.
    """
    if not path.exists():
        return _npz(path, split)
    about = path.stat()
    key = hashlib.sha256(f"{path.resolve()} {about.st_size} {about.st_mtime_ns}".encode()).hexdigest()[:16]
    places = [cache_folder() / "unpacked" / f"{key}-{split}-{what}.npy" for what in ("labels", "images")]
    try:
        labels, images = (torch.from_numpy(_checked(place)) for place in places)
    except (FileNotFoundError, NotADirectoryError):
        images, labels = _npz(path, split)
    except Exception as error:  # numpy raises many kinds at damaged bytes
        warnings.warn(f"the unpacked copy of {path} is damaged ({error}) and is made again", stacklevel=4)
        images, labels = _npz(path, split)
    else:
        return images, labels
    images = images.contiguous()
    with contextlib.suppress(FileError):  # no room or no right to write: the .npz is read again next time
        clear_litter(places[0].parent)
        for place, tensor in zip(places, (labels, images), strict=True):
            _write_checked(place, tensor.numpy())
    return images, labels


def _checked(place: Path) -> np.ndarray:
    """The array of a file, mapped into memory. Raises ``ValueError`` if it is not what ``_write_checked`` wrote."""
    wanted = int(place.with_suffix(".crc").read_text())
    array = np.load(place, mmap_mode="c")
    if zlib.crc32(array.reshape(-1).view(np.uint8).data) != wanted:
        raise ValueError("its checksum is wrong")
    return array


def _write_checked(place: Path, array: np.ndarray) -> None:
    def save(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.save(file, array)

    checksum = str(zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data))
    write_atomic(place, save)
    write_atomic(place.with_suffix(".crc"), lambda temporary: temporary.write_text(checksum))


def _npz(path: Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The Keras layout: x_<split> uint8 (N, 32, 32, 3), y_<split> integers (N,) or (N, 1)."""
    layout = "it takes x_train, x_test uint8 (N, 32, 32, 3) and y_train, y_test with labels 0..9"
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in (f"x_{split}", f"y_{split}") if key not in file]
            if missing:
                raise DataError(f"{path} has no array {missing[0]} (it has {', '.join(file.files)}): {layout}")
            most = max(member.file_size for member in file.zip.infolist())
            if most > MOST_BYTES:
                raise DataError(f"{path} unpacks to {most / 2**30:,.0f} GB, CIFAR-10 to 0.2: {layout}")
            x, y = file[f"x_{split}"], file[f"y_{split}"].reshape(-1)
    except FileNotFoundError:
        raise DataError(f"GANLAB_DATA={path} does not exist: correct the path, or unset it to download") from None
    except DataError:
        raise
    except Exception as error:  # zipfile and numpy raise a dozen kinds at damaged bytes, TokenError among them
        raise DataError(f"{path} is truncated or no .npz file ({error}): copy or download it again") from None
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[1:] != (32, 32, 3) or len(y) != len(x) or y.dtype.kind not in "iu":
        raise DataError(f"{path} holds x_{split} {x.dtype} {x.shape} with {len(y)} labels: {layout}")
    if len(x) == 0 or y.min() < 0 or y.max() > 9:
        raise DataError(f"{path} holds {len(x)} images with labels outside 0..9: {layout}")
    return torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(y.astype(np.int64))


def _torchvision(root: Path, split: str, download: bool) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """torchvision's CIFAR-10: it checks the MD5 sum of every file before it reads one, and shows its progress."""
    from torchvision.datasets import CIFAR10

    try:
        if download:
            root.mkdir(parents=True, exist_ok=True)
        files = CIFAR10(root, train=split == "train", download=download)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"CIFAR-10 is not in {root} and could not be fetched ({error}): set GANLAB_DATA to a cifar10.npz or to a "
            "folder with torchvision's cifar-10-batches-py, or use the dataset 'shapes', which needs no download"
        ) from None
    return (torch.from_numpy(files.data).permute(0, 3, 1, 2), torch.tensor(files.targets), list(CIFAR10_CLASSES))


# --- a user's own images --------------------------------------------------------------------------------------------


def folder(path: Path, resolution: int) -> tuple[torch.Tensor, torch.Tensor, list[str], str]:
    """Every image below ``path``, centre-cropped to a square and resized with antialiasing.

    Sub-folders are classes; a folder without any is one class of its own name. Each class in the order of its file
    names, the classes mixed by a fixed shuffle: the first n images hold some of every class. Raises
    ``DataError`` for a missing folder, no images, or one unreadable.
    """
    from PIL import Image, ImageOps

    if not path.is_dir():
        raise DataError(f"there is no folder {path}: give a folder of images, or the dataset cifar10 or shapes")
    classes = sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
    found = [
        [file for file in sorted(place.rglob("*")) if file.suffix.lower() in IMAGE_SUFFIXES]
        for place in classes or [path]
    ]
    labels = np.random.RandomState(0).permutation(np.repeat(np.arange(len(found)), [len(files) for files in found]))
    if not len(labels):
        raise DataError(f"{path} holds no images: ganlab reads {', '.join(IMAGE_SUFFIXES)}")
    images = np.empty((len(labels), resolution, resolution, 3), np.uint8)
    of_class = [iter(files) for files in found]
    for place, label in enumerate(labels):
        file = next(of_class[label])
        try:
            if not file.is_file():
                raise OSError("it is no regular file")
            with Image.open(file, formats=IMAGE_FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise OSError(f"it has {image.width} x {image.height} pixels, more than {MOST_PIXELS:,}")
                images[place] = ImageOps.fit(image.convert("RGB"), (resolution, resolution), Image.Resampling.BICUBIC)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{file} cannot be read as an image ({error}): mend or remove it") from None
    names = [place.name for place in classes or [path.resolve()]]
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels), names, f"folder {path.name}"


# --- shapes: known modes, no download -------------------------------------------------------------------------------

SHAPES = ("disc", "square", "triangle", "ring", "cross")
HUES = {"warm": (230, 110, 50), "cool": (60, 130, 220)}
SHAPE_CLASSES = tuple(f"{hue}-{shape}" for shape in SHAPES for hue in HUES)
POSITIONS = ((11.5, 11.5), (11.5, 19.5), (19.5, 11.5), (19.5, 19.5))  # (x, y) of the four modes inside a class


def shapes(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """n images of ten classes (five shapes x two hues), each with four positions: 40 modes in equal shares.

    Size, place (+-1 pixel) and colour vary a little around each mode. Same n and seed, same pixels.
    Returns uint8 (n, 3, 32, 32), labels (n,), names.
    """
    stream = np.random.default_rng(seed)
    mode = stream.permutation(np.arange(n) % (len(SHAPE_CLASSES) * len(POSITIONS)))
    label, position = mode // len(POSITIONS), mode % len(POSITIONS)
    centre = np.array(POSITIONS, np.float32)[position] + stream.uniform(-1, 1, (n, 2)).astype(np.float32)
    size = stream.uniform(6, 8, (n, 1, 1)).astype(np.float32)
    grid = np.arange(32, dtype=np.float32)
    x = grid[None, None, :] - centre[:, 0, None, None]
    y = grid[None, :, None] - centre[:, 1, None, None]
    ax, ay, radius = np.abs(x), np.abs(y), np.sqrt(x * x + y * y)
    distance = {  # signed distance to the edge, in pixels, negative inside
        "disc": lambda k: radius[k] - size[k],
        "square": lambda k: np.maximum(ax[k], ay[k]) - 0.85 * size[k],
        "triangle": lambda k: np.maximum(0.87 * ax[k] - 0.5 * y[k] - 0.55 * size[k], y[k] - 0.8 * size[k]),
        "ring": lambda k: np.abs(radius[k] - 0.75 * size[k]) - 0.22 * size[k],
        "cross": lambda k: np.maximum(np.minimum(ax[k], ay[k]) - 0.28 * size[k], np.maximum(ax[k], ay[k]) - size[k]),
    }
    mask = np.empty((n, 32, 32), np.float32)
    for place, shape in enumerate(SHAPES):
        chosen = label // len(HUES) == place
        mask[chosen] = np.clip(0.5 - distance[shape](chosen), 0, 1)  # one pixel of antialiasing
    hue = np.array(list(HUES.values()), np.float32)[label % len(HUES)] + stream.uniform(-20, 20, (n, 3)).astype(
        np.float32
    )
    ground = stream.uniform(20, 50, (n, 1, 1, 1)).astype(np.float32)
    images = ground + mask[:, None] * (hue[:, :, None, None] - ground)
    return torch.from_numpy(images.round().clip(0, 255).astype(np.uint8)), torch.from_numpy(label), list(SHAPE_CLASSES)
