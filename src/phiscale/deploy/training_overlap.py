"""How many of the images that a model is measured on were in its training."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

from phiscale.data.datasets.dataset import ImageSet, Split
from phiscale.data.datasets.open import open_dataset
from phiscale.errors import PhiscaleError
from phiscale.files import read_checked
from phiscale.files.run_files import DATA
from phiscale.text import count_of, printable

logger = logging.getLogger(__name__)

MAX_READ = 20_000
"""Images that are read at most to find copies; in larger sets only names are compared."""


def warn_of_training_images(model: object, images: ImageSet, part: Split) -> None:
    """Logs how many images of `part`, a split of `images`, were in the training of a run.

    `model`: the folder of a run or a file in it; for any other model nothing is known, or said.
    """
    source = _training_source(model)
    if source is None:
        return
    same = _is_same(source, images.source)
    if same and len(images.train) and (part is images.test or part is images.validation):
        return  # the splits of one set are apart
    training = _training_split(source, images)
    if training is None:
        logger.info(
            f"its training read {printable(source)}, which is not here: whether these images were "
            "in it cannot be told"
        )
        return
    count = count_common(part, training, by_key=same)
    if count is None:
        logger.info("too many images to compare them by content with those of its training")
    elif count:
        logger.warning(
            f"{count:,} of {count_of(len(part), 'image')} were in the training of "
            f"{printable(str(model))}: accuracy on them says little about new images"
        )


def count_common(part: Split, training: Split, *, by_key: bool) -> int | None:
    """Counts the images of `part` that are in `training`: of one set by key, else by content.

    None: more than MAX_READ images would have to be read.
    """
    if by_key:
        return len(set(part.keys) & set(training.keys))
    common = set(part.sizes.tolist()) & set(training.sizes.tolist())
    rows, others = (
        [i for i, size in enumerate(split.sizes.tolist()) if size in common]
        for split in (part, training)
    )
    if len(rows) + len(others) > MAX_READ:
        return None
    known = {training.digest(i) for i in others}
    return sum(part.digest(i) in known for i in rows)


def _training_source(model: object) -> str | None:
    """The data of the run that a model belongs to, as its data.json names them."""
    if not isinstance(model, str | os.PathLike):
        return None
    path = Path(model)
    with suppress(OSError, ValueError):  # a name that no file can have
        file = (path if path.is_dir() else path.parent) / DATA
        if file.is_file():
            return _source_of(file)
    return None


def _source_of(file: Path) -> str | None:
    """The data that a data.json names; None, with a warning, where it is damaged."""
    try:
        return read_checked(file, "So the images of its training are unknown.").get("source")
    except PhiscaleError as error:
        logger.warning(printable(str(error)))
        return None


def _training_split(source: str, images: ImageSet) -> Split | None:
    """The images that a training on these data sees, or None where they are not here."""
    if not (Path(source).exists() or _is_same(source, images.source)):
        return None  # a named set, or shards behind a URL, would be downloaded
    with suppress(PhiscaleError, OSError):
        return open_dataset(source).train
    return None


def _is_same(source: str, other: str) -> bool:
    return source == other or os.path.realpath(source) == os.path.realpath(other)
