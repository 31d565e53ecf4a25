"""The same images come back from every place they may lie in, and a damaged place says so."""

import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REAL, needs_cifar10
from PIL import Image

from ganlab import data
from ganlab.data import CIFAR10_CLASSES, DataError, load
from ganlab.errors import ConfigError


def keras_layout(n: int = 40, seed: int = 0) -> dict[str, np.ndarray]:
    stream = np.random.default_rng(seed)
    arrays = {}
    for split in ("train", "test"):
        arrays[f"x_{split}"] = stream.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        arrays[f"y_{split}"] = np.arange(n) % 10
    return arrays


@pytest.fixture
def npz(tmp_path, monkeypatch):
    path = tmp_path / "some.npz"
    np.savez(path, **keras_layout())
    monkeypatch.setenv("GANLAB_DATA", str(path))
    monkeypatch.setenv("GANLAB_CACHE", str(tmp_path / "cache"))
    return path


@needs_cifar10
def test_real_cifar10_has_its_published_means_and_counts():
    train, test = load("cifar10"), load("cifar10", split="test")
    assert train.images.dtype == torch.uint8
    assert train.images.shape[1:] == (3, 32, 32)
    means = train.images.float().mean((0, 2, 3)) / 255
    torch.testing.assert_close(means, torch.tensor([0.4914, 0.4821, 0.4464]), atol=2e-3, rtol=0)
    assert train.labels.bincount()[1] == 5000
    assert test.labels.bincount()[1] == 1000


@needs_cifar10
def test_one_class_of_real_cifar10_is_that_class():
    every, one = load("cifar10"), load("cifar10", ["automobile"])
    assert one.names == ["automobile"]
    assert torch.equal(one.images, every.images[every.labels == CIFAR10_CLASSES.index("automobile")])


def test_classes_are_renumbered_in_the_order_asked_for(npz):
    chosen = load("cifar10", ["ship", "cat"])
    original = keras_layout()
    assert [chosen.names[label] for label in chosen.labels] == [
        CIFAR10_CLASSES[label] for label in original["y_train"] if CIFAR10_CLASSES[label] in ("ship", "cat")
    ]


def test_one_class_from_npz_torchvision_and_folders_is_the_same_data_set(npz, tmp_path, monkeypatch):
    arrays = keras_layout()
    from_npz = load("cifar10", ["frog"])

    # torchvision checks published MD5 sums, so its reader is given arrays of ours where it would give its own
    class Files:
        def __init__(self, root, train, download):
            self.data, self.targets = arrays["x_train"], arrays["y_train"].tolist()

    (tmp_path / "tv" / "cifar-10-batches-py").mkdir(parents=True)
    monkeypatch.setattr("torchvision.datasets.CIFAR10", Files)
    monkeypatch.setenv("GANLAB_DATA", str(tmp_path / "tv"))
    from_torchvision = load("cifar10", ["frog"])

    for place, (pixels, label) in enumerate(zip(arrays["x_train"], arrays["y_train"], strict=True)):
        file = tmp_path / "folders" / "train" / CIFAR10_CLASSES[label] / f"{place:05d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    monkeypatch.setenv("GANLAB_DATA", str(tmp_path / "folders"))
    from_folders = load("cifar10", ["frog"])

    assert from_npz.fingerprint == from_torchvision.fingerprint == from_folders.fingerprint
    assert len({from_npz.source, from_torchvision.source, from_folders.source}) == 3


def test_fingerprint_moves_with_content_order_and_labels(npz):
    whole = load("cifar10")
    swapped = data.ImageSet(whole.images.flip(0), whole.labels.flip(0), whole.names, "", "train")
    touched = data.ImageSet(whole.images.clone(), whole.labels, whole.names, "", "train")
    touched.images[0, 0, 0, 0] ^= 1
    relabelled = data.ImageSet(whole.images, whole.labels.roll(1), whole.names, "", "train")
    assert len({s.fingerprint for s in (whole, swapped, touched, relabelled)}) == 4


def test_the_second_load_maps_the_unpacked_copy_and_a_changed_file_is_read_again(npz, tmp_path, monkeypatch):
    first = load("cifar10")
    copies = sorted((tmp_path / "cache" / "unpacked").glob("*.npy"))
    assert len(copies) == 2
    with monkeypatch.context() as patch:
        patch.setattr(data, "_npz", lambda *_: pytest.fail("read the archive again"))
        again = load("cifar10")
    assert again.fingerprint == first.fingerprint
    again.images[:] = 0  # a copy of one's own: neither the file nor another process sees it
    assert load("cifar10").fingerprint == first.fingerprint

    copies[0].write_bytes(copies[0].read_bytes()[:100])
    with pytest.warns(UserWarning, match="damaged .* made again"):
        assert load("cifar10").fingerprint == first.fingerprint

    with np.load(npz) as file:
        arrays = dict(file)
    arrays["x_train"] = 255 - arrays["x_train"]
    np.savez(npz, **arrays)
    assert load("cifar10").fingerprint != first.fingerprint


def test_a_cache_that_cannot_be_written_is_done_without(npz, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GANLAB_CACHE", str(tmp_path / "file"))
    assert len(load("cifar10")) > 0


def test_limit_keeps_the_first_images(npz):
    assert torch.equal(load("cifar10", limit=7).images, load("cifar10").images[:7])


def test_resolution_64_keeps_the_picture(npz):
    small, large = load("cifar10"), load("cifar10", resolution=64)
    assert large.images.shape == (40, 3, 64, 64)
    back = torch.nn.functional.avg_pool2d(large.images.float(), 2)
    assert (back - small.images.float()).abs().mean() < 25  # white noise, the hardest picture there is


def test_shapes_are_seeded_balanced_and_quick():
    started = time.process_time()
    first, labels, names = data.shapes(5000)
    assert time.process_time() - started < 4, "a bound against accidents; the benchmark has the figure"
    assert torch.equal(first, data.shapes(5000)[0])
    assert not torch.equal(first, data.shapes(5000, seed=1)[0])
    assert labels.bincount().tolist() == [500] * 10
    assert len(set(names)) == 10


def test_shapes_classes_differ_in_hue_and_form():
    pictures, labels, names = data.shapes(2000)
    pictures = pictures.float()
    for place, name in enumerate(names):
        red_minus_blue = (pictures[labels == place, 0] - pictures[labels == place, 2]).mean()
        assert (red_minus_blue > 0) == name.startswith("warm")
    filled = [(pictures[labels == c].amax(1) > 100).float().mean().item() for c in range(10)]
    assert len({round(share, 3) for share in filled[::2]}) == 5


def test_a_folder_of_images_becomes_classes_cropped_and_sorted(tmp_path):
    for name, size in (("b/2.png", (80, 40)), ("b/1.jpg", (33, 99)), ("a/x.png", (64, 64)), ("a/notes.txt", None)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", size, (200, 10, 10)).save(path) if size else path.write_text("no image")
    own = load(str(tmp_path), resolution=64)
    assert own.images.shape == (3, 3, 64, 64)
    assert (own.names, sorted(own.labels.tolist())) == (["a", "b"], [0, 1, 1])
    assert own.images[own.labels == 0, :, 32, 32].tolist() == [[200, 10, 10]]


def test_the_first_images_of_a_folder_are_of_all_its_classes_and_each_class_keeps_its_order(tmp_path):
    for place in range(90):
        path = tmp_path / "abc"[place // 30] / f"{place:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), (place, 0, 0)).save(path)
    few, whole, one = load(str(tmp_path), limit=30), load(str(tmp_path)), load(str(tmp_path / "b"))
    assert few.labels.bincount(minlength=3).min() >= 5
    assert torch.equal(few.images, whole.images[:30]) and sorted(whole.images[:, 0, 0, 0].tolist()) == list(range(90))
    for label in range(3):
        shades = whole.images[whole.labels == label, 0, 0, 0].tolist()
        assert shades == list(range(30 * label, 30 * label + 30))
    assert one.images[:, 0, 0, 0].tolist() == list(range(30, 60))


def rewritten(path: Path, old: bytes, new: bytes) -> None:
    """An .npz in which every match of the pattern ``old`` has become ``new``."""
    np.savez(path, **keras_layout())
    content, count = re.subn(old, new, path.read_bytes(), flags=re.DOTALL)
    assert count
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:5000]), "truncated or no .npz file"),
        (lambda p: p.write_text("hello"), "truncated or no .npz file"),
        (lambda p: rewritten(p, rb"3\), }", b"3   }"), r"no .npz file \(\('EOF in multi-line"),
        (lambda p: rewritten(p, rb"(PK\x01\x02..).", rb"\1a"), r"no .npz file \(zip file version 9.7"),
        (lambda p: p.unlink(), "does not exist: correct the path, or unset it"),
        (lambda p: np.savez(p, images=np.zeros(3)), "has no array x_train"),
        (
            lambda p: np.savez(p, **{**keras_layout(), "x_train": np.zeros((40, 28, 28), np.uint8)}),
            r"holds x_train uint8 \(40, 28",
        ),
        (lambda p: np.savez(p, **{**keras_layout(), "y_train": np.full(40, 11)}), "labels outside 0..9"),
    ],
)
def test_a_damaged_npz_is_named_with_the_layout_it_should_have(npz, damage, sentence):
    damage(npz)
    with pytest.raises(DataError, match=sentence):
        load("cifar10")


@needs_cifar10
def test_the_real_file_cut_in_half_is_refused(tmp_path, monkeypatch):
    cut = tmp_path / "cut.npz"
    with open(REAL, "rb") as whole, open(cut, "wb") as half:
        shutil.copyfileobj(whole, half)
        half.truncate(half.tell() // 2)
    monkeypatch.setenv("GANLAB_DATA", str(cut))
    with pytest.raises(DataError, match="truncated or no .npz file"):
        load("cifar10")


def test_no_data_and_no_network_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("GANLAB_DATA", raising=False)
    monkeypatch.setenv("GANLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(
        "torchvision.datasets.cifar.CIFAR10.url", "http://127.0.0.1:9/cifar.tar.gz"
    )  # nothing listens there
    with pytest.raises(DataError, match="could not be fetched .*set GANLAB_DATA .*'shapes'"):
        load("cifar10")


def test_a_folder_that_holds_no_cifar10_says_what_it_should_hold(tmp_path, monkeypatch):
    monkeypatch.setenv("GANLAB_DATA", str(tmp_path))
    with pytest.raises(DataError, match="holds no CIFAR-10: it takes an .npz"):
        load("cifar10")


def test_bad_names_and_folders_are_answered(npz, tmp_path):
    with pytest.raises(ConfigError, match=r"unknown class 'car'.*airplane, automobile"):
        load("cifar10", ["car"])
    with pytest.raises(ConfigError, match="unknown split 'valid': valid are train, test"):
        load("shapes", split="valid")
    with pytest.raises(DataError, match="there is no folder"):
        load(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        load(str(tmp_path / "empty"))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match="cannot be read as an image"):
        load(str(tmp_path / "bad"))
