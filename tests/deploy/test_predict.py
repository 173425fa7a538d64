"""Predictions in Python: what may be an image, one or many, and what is said of the unreadable."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from phiscale.data.preprocessing import Preprocessing
from phiscale.deploy.export import export_onnx
from phiscale.deploy.inference import evaluate, evaluate_model, predict
from phiscale.deploy.predict import Prediction, Predictor
from phiscale.errors import BadImage, DataError, PhiscaleError, UsageError
from phiscale.nn.network import build
from phiscale.pipeline.run_folder import Run
from phiscale.weights.metadata import ModelMetadata
from phiscale.weights.sources import load
from phiscale.weights.store import save
from support.networks import SPEC, random_network

METADATA = ModelMetadata(
    spec=SPEC,
    preprocessing=Preprocessing(size=16, crop=1.0),
    classes=tuple(str(n) for n in range(10)),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with best.safetensors and model.onnx."""
    out = tmp_path_factory.mktemp("run")
    export_onnx(random_network(), METADATA, None, out, latency_s=0.02)
    save(out / "best.safetensors", random_network().state_dict(), METADATA)
    return out


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return Predictor(run / "model.onnx")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five images, one of them in a subfolder; a text file, and what must be ignored."""
    folder = tmp_path / "photos"
    for name in ("a.png", "b.jfif", "c.JPG", "d.bmp", "deep/e.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        kind = "JPEG" if name.lower().endswith(("jpg", "jfif")) else None
        photo(sum(name.encode())).save(folder / name, kind)
    (folder / "notes.txt").write_text("not an image")
    for hidden in (".a.png", "Thumbs.db", "__MACOSX/a.png"):
        (folder / hidden).parent.mkdir(exist_ok=True)
        (folder / hidden).write_bytes(b"junk")
    return folder


def photo(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "form",
    [
        str,
        Path,
        lambda path: path.read_bytes(),
        Image.open,
        lambda path: np.array(Image.open(path)),
    ],
    ids=["str", "Path", "bytes", "PIL", "array"],
)
def test_one_image_in_any_form_gives_one_prediction(
    predictor: Predictor, photos: Path, form: Callable[[Path], str]
) -> None:
    prediction, [same] = predictor(form(photos / "a.png")), predictor([form(photos / "a.png")])
    assert isinstance(prediction, Prediction) and isinstance(same, Prediction)
    [expected] = predictor([photos / "a.png"])
    assert np.array_equal(prediction.probabilities, expected.probabilities)
    assert np.array_equal(same.probabilities, expected.probabilities)


def test_a_folder_gives_a_prediction_for_each_of_its_images(
    predictor: Predictor, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "phiscale")
    predictions = predictor(photos)
    assert isinstance(predictions, list)
    names = [Path(prediction.source).relative_to(photos).as_posix() for prediction in predictions]
    assert names == ["a.png", "b.jfif", "c.JPG", "d.bmp", "deep/e.png"]
    assert "1 file not named like images, ignored" in caplog.text


def test_files_of_several_pages_are_named_once(
    predictor: Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.gif", "b.tif"):
        photo(1).save(tmp_path / name, save_all=True, append_images=[photo(2)])
    photo(1).save(tmp_path / "one.gif")
    predictor(tmp_path)
    [record] = caplog.records
    assert "only the first page or frame is read of 2 files ('" in record.getMessage()
    assert "b.tif" in record.getMessage() and "one.gif" not in record.getMessage()


def test_many_images_come_in_order_whatever_the_batch(run: Path) -> None:
    images = [photo(seed) for seed in range(23)]
    one, few, whole = (
        np.stack(
            [prediction.probabilities for prediction in Predictor(run, batch_size=size)(images)]
        )
        for size in (1, 4, None)
    )
    assert np.array_equal(one, few) and np.array_equal(one, whole)


def test_images_are_read_no_further_ahead_than_a_few_batches(run: Path) -> None:
    read: list[int] = []

    def images():  # type: ignore[no-untyped-def]
        for seed in range(1000):
            read.append(seed)
            yield photo(seed)

    predictions = Predictor(run, batch_size=2, threads=2).iter_predictions(images())
    assert next(predictions).source == "images[0]"
    assert len(read) < 50


def test_an_unreadable_image_among_many_is_a_prediction_with_an_error(
    predictor: Predictor, photos: Path
) -> None:
    damaged = (photos / "a.png").read_bytes()[:60]
    good, bad, last = predictor([photos / "a.png", damaged, photos / "d.bmp"])
    assert good.error is None and last.error is None and last.label in METADATA.classes
    assert bad.error and bad.label == "" and np.isnan(bad.probability) and bad.top() == []
    assert bad.source == "images[1]" and "images[1]: unreadable" in repr(bad)
    assert all(prediction.error for prediction in predictor([damaged, damaged]))


def test_one_unreadable_image_is_an_error(predictor: Predictor, photos: Path) -> None:
    with pytest.raises(BadImage, match=r"notes\.txt cannot be read: text, not a picture|not an im"):
        predictor(photos / "notes.txt")


def test_the_image_in_memory_may_be_broken_too(predictor: Predictor) -> None:
    lazy = Image.open(io.BytesIO(encoded(photo(0))[:200]))
    good, bad = predictor([photo(1), lazy])
    assert good.error is None and bad.error


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("nope.jpg", r"nope\.jpg does not exist"),
        (["nope.jpg"], r"nope\.jpg does not exist"),
        (3, r"images is of type int\. Use a path"),
        ([photo(0), 3], r"images\[1\] is of type int"),
        (np.zeros((4, 4, 3), np.float32), r"float32 and shape \(4, 4, 3\)\. Use uint8"),
        (
            [np.zeros((4, 4, 4), np.uint8)],
            r"images\[0\] is an array of uint8 and shape \(4, 4, 4\)",
        ),
    ],
)
def test_what_is_no_image_is_refused_before_anything_is_computed(
    predictor: Predictor, images: object, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        predictor(images)  # type: ignore[call-overload]


def test_an_empty_folder_and_no_images_at_all(predictor: Predictor, tmp_path: Path) -> None:
    assert predictor([]) == []
    with pytest.raises(DataError, match="No image in"):
        predictor(tmp_path)


def test_weights_and_export_give_the_same_predictions(run: Path, photos: Path) -> None:
    onnx, weights, network = (
        predict(model, photos)
        for model in (run / "model.onnx", run / "best.safetensors", load(run / "best.safetensors"))
    )
    for a, b, c in zip(onnx, weights, network, strict=True):
        assert np.allclose(a.probabilities, b.probabilities, atol=1e-5)
        assert np.array_equal(b.probabilities, c.probabilities)
        assert a.source == b.source


def test_a_network_stays_in_its_mode(run: Path, photos: Path) -> None:
    network = load(run / "best.safetensors").train()
    first, again = predict(network, photos / "a.png"), predict(run, photos / "a.png")
    assert network.training
    assert first.label == again.label  # type: ignore[union-attr]


def test_top_is_how_many_classes_are_shown(run: Path, photos: Path) -> None:
    prediction = predict(run, photos / "a.png", top=3)
    assert isinstance(prediction, Prediction)
    assert len(prediction.top()) == 3 and len(prediction.top(10)) == 10
    assert prediction.top()[0] == (prediction.label, prediction.probability)
    page = prediction._repr_html_()
    assert page.count("<tr>") == 4 and "a.png" in page and "%" in page


def test_a_prediction_on_a_page_cannot_bring_markup() -> None:
    prediction = Prediction("<b>", 1.0, np.array([1.0]), ("<b>",), source="<script>.png")
    assert "<script>" not in prediction._repr_html_() and "<b>" not in prediction._repr_html_()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, r"top=0 is out of range"),
        ({"batch_size": 0}, r"batch_size=0 is out of range"),
    ],
)
def test_numbers_out_of_range_name_the_parameter(
    run: Path, photos: Path, options: dict[str, int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        predict(run, photos / "a.png", **options)


def test_a_network_without_metadata_is_refused(photos: Path) -> None:
    with pytest.raises(UsageError, match="has no preprocessing and class names"):
        predict(build(SPEC), photos)
    with pytest.raises(UsageError, match="model is of type int"):
        predict(3, photos)  # type: ignore[arg-type]


def test_a_finished_run_is_a_model(run: Path, photos: Path) -> None:
    prediction, same = predict(Run(run), photos / "a.png"), predict(run, photos / "a.png")
    assert np.array_equal(prediction.probabilities, same.probabilities)  # type: ignore[union-attr]
    assert evaluate(Run(run), "digits") == evaluate(run, "digits")


# --- evaluation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [None, 7])
def test_evaluation_is_the_same_for_network_weights_and_export(
    run: Path, batch_size: int | None
) -> None:
    network = load(run / "best.safetensors")
    metrics = evaluate(network, "digits", batch_size=batch_size)
    assert metrics == evaluate(run, "digits", batch_size=batch_size)
    export = evaluate(run / "model.onnx", "digits", batch_size=batch_size)
    assert export.confusion == metrics.confusion and metrics.images == 179
    assert export.cross_entropy == pytest.approx(metrics.cross_entropy, abs=1e-5)


def test_onnx_logits_do_not_depend_on_batches_or_threads(run: Path) -> None:
    whole = evaluate_model(run / "model.onnx", "digits", batch_size=179).logits
    for batch_size in (None, 1, 5):
        assert np.array_equal(
            whole, evaluate_model(run / "model.onnx", "digits", batch_size=batch_size).logits
        )


def test_torch_logits_are_those_of_the_evaluation_in_training(run: Path) -> None:
    from phiscale.data.datasets.open import open_dataset
    from phiscale.training.evaluate import logits_of

    images, network = open_dataset("digits"), load(run / "best.safetensors")
    expected = logits_of(network, images.test, network.preprocessing)
    assert np.array_equal(evaluate_model(network, images).logits, expected)


def test_an_unreadable_image_ends_an_evaluation(run: Path, tmp_path: Path) -> None:
    for label in range(10):
        for number in range(4):
            path = tmp_path / str(label) / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            photo(10 * label + number).save(path)
    (tmp_path / "3" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(PhiscaleError, match=r"bad\.png cannot be read"):
        evaluate(run, tmp_path, split="all")


def test_all_is_every_image_of_a_named_set(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert evaluate(run / "model.onnx", "digits", split="all").images == 1797
    with caplog.at_level("INFO", logger="phiscale"):
        evaluate(run / "model.onnx", "digits")
    assert "measured 179 of 1,797 images; split 'all' has every image" in caplog.text


def test_class_folders_of_one_image_each_can_be_measured(run: Path, tmp_path: Path) -> None:
    for label in range(10):
        (tmp_path / str(label)).mkdir()
        photo(label).save(tmp_path / str(label) / "only.png")
    evaluation = evaluate_model(run / "model.onnx", tmp_path, split="all")
    assert evaluation.metrics.images == 10
    assert evaluation.per_image_csv().splitlines()[1].startswith(b"0/only.png,0,")


def test_no_torch_setting_is_left_changed(run: Path, photos: Path) -> None:
    threads = torch.get_num_threads()
    predict(run / "best.safetensors", photos)
    assert torch.get_num_threads() == threads


def test_weights_without_a_classifier_answer_in_one_line_what_to_do():
    body = build(SPEC, classes=0)
    with pytest.raises(UsageError, match=r"has no classifier.*phiscale fit DATA --pretrained"):
        predict(body, [np.zeros((32, 32, 3), np.uint8)])
