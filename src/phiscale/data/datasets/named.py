"""Image sets known by name: `digits`, embedded in scikit-learn, and torchvision's by download.

The libraries are imported when a set is opened: listing names costs nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phiscale import files
from phiscale.data.datasets.dataset import ArraySplit, FileSplit, ImageSet, Split
from phiscale.data.datasets.evaluated import keep_splits
from phiscale.data.datasets.folders import open_folder
from phiscale.data.datasets.held_out import assemble
from phiscale.data.datasets.published import TRANSFER_DATASETS
from phiscale.errors import DataError, full_install
from phiscale.text import printable

Combine = Callable[..., ImageSet]
"""`assemble`, or `keep_splits` where the set is only measured."""

TIMEOUT_S = 30.0
"""How long a server may stay silent during a download."""


@dataclass(frozen=True)
class _Known:
    torchvision: str
    """The class in torchvision.datasets; "" for what is embedded, or made by hand."""
    splits: tuple[str, ...] = ()
    """torchvision's names of train and, where there are any, of what is held out ("a+b": both in
    one, as the EfficientNet paper trained). Sets that lie in arrays have two and no names."""


NAMED: dict[str, _Known] = {
    "digits": _Known(""),
    "mnist": _Known("MNIST"),
    "fashion-mnist": _Known("FashionMNIST"),
    "kmnist": _Known("KMNIST"),
    "cifar10": _Known("CIFAR10"),
    "cifar100": _Known("CIFAR100"),
    "flowers102": _Known("Flowers102", ("train+val", "test")),
    "dtd": _Known("DTD", ("train", "val", "test")),
    "fgvc-aircraft": _Known("FGVCAircraft", ("trainval", "test")),
    "stanford-cars": _Known(""),
    "birdsnap": _Known(""),
    "oxford-pets": _Known("OxfordIIITPet", ("trainval", "test")),
    "country211": _Known("Country211", ("train", "valid", "test")),
    "food101": _Known("Food101", ("train", "test")),
    "imagenette": _Known("Imagenette", ("train", "val")),
    "eurosat": _Known("EuroSAT", ("",)),
}

_WITHOUT_LOADER = ("oxford-pets",)


def open_named(name: str, split: str | None = None) -> ImageSet:
    """Opens a set by its name in NAMED. Raises DataError if it can be neither read nor downloaded.

    `split`: see `open.open_dataset`.
    """
    combine: Combine = keep_splits if split == "all" else assemble
    known = NAMED[name]
    if name == "digits":
        return _digits(combine)
    if not known.torchvision:
        return _by_hand(name, cache_folder() / name, split)
    with full_install(f"the set {name}"):
        from torchvision import datasets

    build: Callable[..., Any] = getattr(datasets, known.torchvision)
    root = cache_folder() / name
    if known.splits:
        return _from_files(name, build, root, known.splits, combine)
    return _from_arrays(name, build, root, combine)


def cache_folder() -> Path:
    """Returns the folder of downloaded sets."""
    return files.cache_folder() / "datasets"


def _by_hand(name: str, folder: Path, split: str | None) -> ImageSet:
    """Opens a set of class folders that the user has put into the cache."""
    if not folder.is_dir():
        raise DataError(TRANSFER_DATASETS[name].manual_steps(name, printable(str(folder))))
    return open_folder(folder, name, split)


def _digits(combine: Combine) -> ImageSet:
    with full_install("the set digits"):
        from sklearn.datasets import load_digits

    digits: Any = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # n 8 8, 0..16 in the source
    names = tuple(str(digit) for digit in digits.target_names)
    return combine("digits", names, _array_split("digits", pixels, digits.target))


def _from_arrays(name: str, build: Callable[..., Any], root: Path, combine: Combine) -> ImageSet:
    parts = []
    for split, is_train in (("train", True), ("test", False)):

        def make(download: bool, train: bool = is_train) -> Any:
            return build(root=str(root), train=train, download=download)

        parts.append((split, _cached_or_fetched(name, make, root)))
    splits = [_array_split(split, np.asarray(d.data), d.targets) for split, d in parts]
    return combine(name, tuple(parts[0][1].classes), splits[0], test=splits[1])


def _from_files(
    name: str, build: Callable[..., Any], root: Path, names: tuple[str, ...], combine: Combine
) -> ImageSet:
    splits: list[Split] = []
    classes: tuple[str, ...] = ()
    for together in names:
        parts = []
        for split in together.split("+"):

            def make(download: bool, split: str = split) -> Any:
                arguments: dict[str, Any] = {"split": split} if split else {}
                if name not in _WITHOUT_LOADER:
                    arguments["loader"] = str
                return build(root=str(root), download=download, **arguments)

            parts.append(_cached_or_fetched(name, make, root))
        # Imagenette gives each class as a tuple of synonyms
        classes = tuple(c if isinstance(c, str) else c[0] for c in parts[0].classes)
        splits.append(_file_split(root, parts))
    validation = splits[1] if len(splits) == 3 else None
    test = splits[-1] if len(splits) > 1 else None
    return combine(name, classes, splits[0], validation, test)


def _cached_or_fetched(name: str, make: Callable[[bool], Any], root: Path) -> Any:
    """Opens a set from the cache, and downloads it only if that fails."""
    try:
        return make(False)
    except Exception:  # absent or half there; torchvision says so in many ways
        pass
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _socket_timeout():
            return make(True)
    except Exception as error:
        why = printable(" ".join(str(error).split())[:200])
        raise DataError(
            f"'{name}' is not in the cache and could not be downloaded: {why}. "
            f"Go online, or put torchvision's files into '{printable(str(root))}', "
            "or name a folder of images instead."
        ) from error


@contextmanager
def _socket_timeout() -> Iterator[None]:
    """Sets the socket timeout to TIMEOUT_S while inside."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _array_split(split: str, pixels: NDArray[np.uint8], labels: Any) -> ArraySplit:
    count = len(pixels)
    return ArraySplit(
        keys=tuple(f"{split}/{i:05d}" for i in range(count)),
        labels=np.array(labels, dtype=np.int64),
        sizes=np.full(count, pixels[0].nbytes, dtype=np.int64),
        pixels=pixels,
    )


def _file_split(root: Path, parts: Iterable[Any]) -> FileSplit:
    """Each part gives (path, label) for every index, since its loader is `str`; one that takes no
    loader keeps both in lists."""
    rows: list[tuple[Any, int]] = []
    for part in parts:
        listed = getattr(part, "loader", None) is None
        rows += zip(part._images, part._labels, strict=True) if listed else list(part)
    paths = [Path(path) for path, _ in rows]
    return FileSplit(
        keys=tuple(path.relative_to(root).as_posix() for path in paths),
        labels=np.array([label for _, label in rows], dtype=np.int64),
        sizes=np.array([path.stat().st_size for path in paths], dtype=np.int64),
        root=str(root),
    )
