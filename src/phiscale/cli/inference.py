"""Commands that use a trained model: evaluate, predict, export."""

from typing import Annotated, Literal

from tyro.conf import Positional, arg

from phiscale.cli.output import show_json
from phiscale.cli.values import (
    Data,
    Device,
    File,
    Folder,
    Images,
    Model,
    Number,
    OptionalData,
    Range,
    Run,
    Switch,
    check_file,
    lift_pillow_limit,
)
from phiscale.errors import UsageError
from phiscale.files.values import check_at_least


def evaluate(
    model: Positional[Model],
    data: Positional[Data],
    /,
    *,
    split: Literal["test", "validation", "train", "all"] = "test",
    per_image: File = None,
    json: Switch = False,
    max_megapixels: Number = None,
    range: Range = None,
    device: Device = "auto",
) -> None:
    """Measure a model on a split: top-1 and top-5 with interval, per class, calibration.

    Args:
        model: A model.onnx, RUN, weights file, hf-hub:NAME, torchvision:NAME, or model.tag.
        data: Image folder, CSV table, named set (digits, cifar10, ...), or tar shards.
        split: Split to evaluate on.
        per_image: Write the prediction for every image to this CSV file.
        json: Print JSON.
        max_megapixels: Size above which an image counts as unreadable; by default 64.
        range: Values of black and white in grey images of more than 8 bits; by default those that
            the model was trained with.
        device: Compute device; auto uses a GPU where there is one. A model.onnx runs on the CPU.
    """
    from phiscale.cli.output import metrics_lines
    from phiscale.deploy.inference import evaluate_model
    from phiscale.files import write_atomic

    if per_image:
        check_file("--per-image", per_image)
    lift_pillow_limit(max_megapixels)
    evaluation = evaluate_model(
        model,
        data,
        split=split,
        device=device,
        max_megapixels=max_megapixels,
        value_range=range,
    )
    if per_image:
        write_atomic(per_image, evaluation.per_image_csv())
    if json:
        show_json(evaluation.metrics.to_dict())
    else:
        print("\n".join(metrics_lines(evaluation.metrics)))


def predict(
    model: Positional[Model],
    images: Positional[Images],
    /,
    *,
    format: Literal["table", "csv", "json"] = "table",
    top: Annotated[int, arg(metavar="N")] = 5,
    max_megapixels: Number = None,
    range: Range = None,
    device: Device = "auto",
) -> None:
    """Predict the class and its probability for each image.

    Args:
        model: A model.onnx, RUN, weights file, hf-hub:NAME, torchvision:NAME, or model.tag.
        images: Image files, or folders of them.
        format: Output format.
        top: Number of classes to print for each image, the most probable first.
        max_megapixels: Size above which an image counts as unreadable; by default 64.
        range: Values of black and white in grey images of more than 8 bits; by default those that
            the model was trained with.
        device: Compute device; auto uses a GPU where there is one. A model.onnx runs on the CPU.
    """
    from phiscale.cli.output import print_predictions
    from phiscale.deploy.inference import open_backend
    from phiscale.deploy.predict import Predictor
    from phiscale.errors import DataError
    from phiscale.text import count_of

    check_at_least(1, top=top)
    if not images:
        raise UsageError("predict needs IMAGES. See phiscale predict --help.")
    lift_pillow_limit(max_megapixels)
    with open_backend(model, device, prefer_export=True) as backend:
        predictor = Predictor(backend, max_megapixels=max_megapixels, value_range=range)
        predictions = predictor.iter_predictions(images, top=top)
        bad, count = print_predictions(predictions, format)
    if bad:
        raise DataError(
            f"{bad} of {count_of(count, 'image')} cannot be read. "
            "The output names the reasons. Fix them or leave them out."
        )


def export(run: Positional[Run], /, *, out: Folder = None, data: OptionalData = None) -> None:
    """Export model.onnx and model.json of a RUN, and verify their outputs against PyTorch.

    Args:
        run: Folder of a training, or a weights file.
        out: Folder to write into; by default the run's.
        data: Verify on the validation images of this set instead of on random images.
    """
    from phiscale.deploy.export import export_run

    path, metadata = export_run(run, out, data)
    difference = metadata["parity"]["relative_difference"]
    print(
        f"wrote {path}: {metadata['file']['bytes'] / 1e6:.2f} MB, "
        f"{metadata['latency_ms']:.3g} ms, relative difference {difference:.1g}"
    )
