"""`Run`: the folder of a training, finished or not, that answers questions about itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from phiscale.arch.spec import FORMAT as SPEC_FORMAT
from phiscale.arch.spec import Spec
from phiscale.errors import CheckpointError, full_install
from phiscale.files import read_checked
from phiscale.files.run_files import EVALUATION, RECIPE, REPORT, SPEC, WEIGHTS
from phiscale.text import html_table
from phiscale.training.log import read_log
from phiscale.training.recipes.recipe import FORMAT as RECIPE_FORMAT
from phiscale.training.recipes.recipe import Recipe
from phiscale.weights.header import read_metadata
from phiscale.weights.metadata import ModelMetadata

if TYPE_CHECKING:
    from phiscale.data.datasets.dataset import ImageSet
    from phiscale.deploy.images import ImageLike
    from phiscale.deploy.inference import SplitName
    from phiscale.deploy.predict import Prediction
    from phiscale.nn.network import Network
    from phiscale.training.metrics import Metrics


class Run(os.PathLike[str]):
    """The folder of a training, as `train` and `fit` make it.

    `Run("run")` opens one that exists. It stands for its folder wherever a model is expected.
    Raises CheckpointError where the folder holds no run. `check=False` opens it unseen: a process
    on another machine may train without seeing the folder.
    """

    def __init__(self, folder: str | os.PathLike[str], *, check: bool = True):
        self.folder = Path(folder)
        if check:
            self._check()

    def _check(self) -> None:
        if not self.folder.is_dir():
            raise CheckpointError(f"no folder {self.folder}. Name the folder of a training.")
        if not any((self.folder / name).is_file() for name in (RECIPE, WEIGHTS)):
            raise CheckpointError(
                f"{self.folder} holds no training: neither {RECIPE} nor {WEIGHTS}. "
                "Use the `out` folder of a `train` or `fit`."
            )

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def spec(self) -> Spec:
        """The network that is trained."""
        if (path := self.folder / SPEC).is_file():
            return SPEC_FORMAT.read(path)
        return self.metadata.spec

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        path = self.folder / RECIPE
        if not path.is_file():
            raise CheckpointError(f"{self.folder} has no {RECIPE}: only its weights were kept.")
        return RECIPE_FORMAT.read(path)

    @property
    def weights(self) -> Path:
        """The best weights. Raises CheckpointError before the first evaluation."""
        path = self.folder / WEIGHTS
        if not path.is_file():
            raise CheckpointError(
                f"{self.folder} has no weights yet. Resume the training with the same arguments."
            )
        return path

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Metrics of the best weights, as fractions: those of the test split after a `fit`, else
        what the training measured on the validation split.

        Raises PhiscaleError where the file that a `fit` left is damaged or was edited.
        """
        path = self.folder / EVALUATION
        if not path.exists():
            return self.metadata.metrics.get("validation", {})
        return read_checked(path, "Run its `fit` again, which evaluates anew.")["metrics"]

    @property
    def metadata(self) -> ModelMetadata:
        """What the weights carry: spec, preprocessing, classes, metrics, recipe."""
        return read_metadata(self.weights)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The records of log.jsonl: one for each step and each evaluation, in order.

        Raises CheckpointError for a damaged one.
        """
        return [dict(record) for record in read_log(self.folder)]

    @property
    def report(self) -> Path | None:
        """The page that a `fit` writes, or None."""
        path = self.folder / REPORT
        return path if path.is_file() else None

    def load(self) -> Network:
        """Returns the trained network in eval mode, with its spec, preprocessing and metadata."""
        with full_install("Run.load"):
            from phiscale.weights.sources import load

        return load(self.weights)

    def evaluate(
        self,
        data: ImageSet | str | Path,
        *,
        split: SplitName = "test",
        device: str = "auto",
        batch_size: int | None = None,
        max_megapixels: float | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> Metrics:
        """Measures the best weights on a split of an image set: see `phiscale.evaluate`."""
        from phiscale.deploy.inference import evaluate

        return evaluate(
            self.weights,
            data,
            split=split,
            device=device,
            batch_size=batch_size,
            max_megapixels=max_megapixels,
            value_range=value_range,
        )

    def predict(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        top: int = 5,
        device: str = "auto",
        batch_size: int | None = None,
        max_megapixels: float | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> Prediction | list[Prediction]:
        """Predicts the class of images, with probabilities: see `phiscale.predict`."""
        from phiscale.deploy.inference import predict

        return predict(
            self.folder,
            images,
            top=top,
            device=device,
            batch_size=batch_size,
            max_megapixels=max_megapixels,
            value_range=value_range,
        )

    def export(
        self,
        to: Literal["onnx"] = "onnx",
        *,
        out: str | os.PathLike[str] | None = None,
        data: ImageSet | str | Path | None = None,
    ) -> Path:
        """Writes the deployable file, after its outputs were verified: see `phiscale.export`."""
        with full_install("Run.export"):
            from phiscale.pipeline.export import export

        return export(self.weights, to, out=out, data=data)

    def _repr_html_(self) -> str:
        rows = {"network": f"{self.spec.blocks} blocks, {self.spec.resolution} px"}
        if history := self.history:
            rows["images seen"] = f"{history[-1]['images_seen']:,}"
        if (self.folder / WEIGHTS).is_file() and "top1" in (metrics := self.metrics):
            rows["top-1 accuracy"] = f"{100 * metrics['top1']:.2f} %"
        if self.report:
            rows["report"] = str(self.report)
        return html_table((), rows.items(), str(self.folder))
