"""The extractor behind FID: clean-fid's Inception-v3, whose weights lie on disk or are fetched once by name."""

import hashlib
import io
import os
import sys
import urllib.request
import warnings
from pathlib import Path

import torch
from torch import nn

from ganlab.data import cache_folder
from ganlab.files import write_atomic
from ganlab.scoring.features import Extractor, FeatureError, clean_resizer, version_of

INCEPTION_FILE = "inception-2015-12-05.pt"
INCEPTION_BYTES = 95_607_719
CLEANFID_FOLDER = Path("." if os.name == "nt" else "/tmp")  # where clean-fid itself keeps that file
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"


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
    return Extractor("inception", version_of(content), 2048, network, clean_resizer(299), batch_size=16)


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
