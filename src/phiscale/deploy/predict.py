"""Predictions for images from any backend. A model.onnx needs no torch."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from phiscale.data.batches import ImageReader, run_batches
from phiscale.data.preprocessing import Preprocessing
from phiscale.data.reading.decode import DecodeLimits
from phiscale.deploy.backend import Backend, OnnxBackend
from phiscale.deploy.images import ImageLike, NamedImage, is_single, name_images
from phiscale.errors import BadImage
from phiscale.files.values import check_at_least, check_range
from phiscale.text import count_of, html_table, join_names, printable
from phiscale.training.metrics import softmax

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """The answer for one image, or the reason why there is none.

    An unreadable image has `error` set, an empty `label`, a `probability` of NaN and no
    `probabilities`.
    """

    label: str
    """The most probable class."""
    probability: float
    """Of `label`, in [0, 1]."""
    probabilities: NDArray[np.float64]
    """Of every class, in the order of `classes`."""
    classes: tuple[str, ...]
    source: str = ""
    """Path of the image; its position, such as images[2], where there is no file."""
    error: str | None = None
    """Why the image cannot be read."""
    top_count: int = 5
    """How many classes `top` and the notebook show."""

    def top(self, count: int | None = None) -> list[tuple[str, float]]:
        """Returns the most probable classes with probabilities, best first. None: `top_count`."""
        count = self.top_count if count is None else count
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.classes[i], float(self.probabilities[i])) for i in order]

    def __repr__(self) -> str:
        if self.error is not None:
            return f"<Prediction of {printable(self.source)}: unreadable, {self.error}>"
        return (
            f"<Prediction of {printable(self.source)}: {printable(self.label)} "
            f"{100 * self.probability:.1f} %>"
        )

    def _repr_html_(self) -> str:
        """Returns a table for notebooks."""
        title = printable(self.source)
        if self.error is not None:
            return html_table((), [(f"unreadable: {self.error}",)], title)
        rows = [(printable(name), f"{100 * share:.1f} %") for name, share in self.top()]
        return html_table(("class", "probability"), rows, title)


class Predictor:
    """Answers for images: `Predictor("model.onnx")("photo.jpg")`.

    All that it needs (size, crop, interpolation, mean, std, classes) is read from the model.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Backend,
        *,
        threads: int = 0,
        batch_size: int | None = None,
        max_megapixels: float | None = None,
        value_range: tuple[float, float] | None = None,
    ):
        """Opens a model.onnx, a folder that holds one, or a backend.

        `threads`: CPU threads of ONNX Runtime; 0: one per core. `batch_size`: images computed at
        once; None: what suits the network and the device. `max_megapixels`: size above which an
        image counts as unreadable; None: 64. `value_range`: values of black and white in grey
        images of more than eight bits; None: those that the model was trained with.
        ExportError: the file is no model of phiscale's. UsageError: a number is out of
        range.
        """
        check_at_least(0, threads=threads)
        check_at_least(1, batch_size=batch_size)
        is_path = isinstance(model, str | os.PathLike)
        self.backend: Backend = OnnxBackend(model, threads=threads) if is_path else model
        self.batch_size = batch_size
        check_range(value_range=value_range)
        self.value_range = value_range
        self.limits = DecodeLimits.of_megapixels(max_megapixels)

    @property
    def preprocessing(self) -> Preprocessing:
        return self.backend.preprocessing.with_range(self.value_range)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.backend.classes

    @overload
    def __call__(self, images: bytes | Image.Image, *, top: int = 5) -> Prediction: ...

    @overload
    def __call__(
        self, images: list[ImageLike] | tuple[ImageLike, ...], *, top: int = 5
    ) -> list[Prediction]: ...

    @overload
    def __call__(
        self, images: ImageLike | Iterable[ImageLike], *, top: int = 5
    ) -> Prediction | list[Prediction]: ...

    def __call__(
        self, images: ImageLike | Iterable[ImageLike], *, top: int = 5
    ) -> Prediction | list[Prediction]:
        """Returns one prediction for one image, a list for many or for a folder.

        `images`: paths, folders, bytes, PIL images, uint8 arrays (height, width, 3). `top`: how
        many classes `Prediction.top` gives.
        BadImage: the one image cannot be read; among many it is a prediction with `error`.
        DataError: something is no image.
        """
        predictions = list(self.iter_predictions(images, top=top))
        if not is_single(images):
            return predictions
        [prediction] = predictions
        if prediction.error is not None:
            raise BadImage(f"{printable(prediction.source)} cannot be read: {prediction.error}")
        return prediction

    def iter_predictions(
        self, images: ImageLike | Iterable[ImageLike], *, top: int = 5
    ) -> Iterator[Prediction]:
        """Predictions in the order of the images, as they are computed.

        Images are read a few batches ahead, so any number of them fits the memory. An image
        that cannot be read is a prediction with `error`.
        """
        check_at_least(1, top=top)
        return self._predictions(name_images(images), top)

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (n, classes) of preprocessed images, float32 (n, 3, size, size)."""
        return self.backend.logits(images)

    def _predictions(self, images: Iterable[NamedImage], top: int) -> Iterator[Prediction]:
        options, limits = self.preprocessing.decode_options, self.limits
        multi_page: list[str] = []

        def read(image: NamedImage) -> Image.Image:
            decoded = image.read(options, limits)
            if decoded.has_more:
                multi_page.append(image.name)
            return decoded.image

        reader = ImageReader[NamedImage](read, self.preprocessing)
        plan = self.backend.plan(self.batch_size)
        for batch, logits in run_batches(self.backend.logits_of_pixels, images, reader, plan):
            rows = iter(() if logits is None else softmax(logits.astype(np.float64)))
            for image, error in zip(batch.items, batch.errors, strict=True):
                yield (
                    self._prediction(image, next(rows), top)
                    if error is None
                    else self._failure(image, error, top)
                )
        if multi_page:
            files = f"{count_of(len(multi_page), 'file')} ({join_names(sorted(multi_page), 3)})"
            logger.warning(f"only the first page or frame is read of {files}")

    def _prediction(
        self, image: NamedImage, probabilities: NDArray[np.float64], top: int
    ) -> Prediction:
        best = int(probabilities.argmax())
        label, probability = self.classes[best], float(probabilities[best])
        return Prediction(
            label, probability, probabilities, self.classes, image.name, top_count=top
        )

    def _failure(self, image: NamedImage, error: str, top: int) -> Prediction:
        return Prediction("", float("nan"), np.empty(0), self.classes, image.name, error, top)
