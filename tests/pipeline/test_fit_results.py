"""What `fit` leaves in its folder, and that all of it gives the same predictions."""

import csv
import html
import io
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import phiscale
from phiscale.data.datasets.open import open_dataset
from phiscale.files import read_checked
from phiscale.pipeline.run import FitRuntime, run_fit
from support.fits import EVERYTHING, fixed_measurements, request, run_command


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty of the digits' test images as files."""
    root = tmp_path_factory.mktemp("images")
    test = open_dataset("digits").test
    for i in range(20):
        test.image(i).save(root / f"{i:02d}.png")
    return root


def test_fit_leaves_everything_in_one_folder(fitted: Path):
    assert {path.name for path in fitted.iterdir()} >= EVERYTHING
    choice = json.loads((fitted / "choice.json").read_text())
    for name in ("spec", "recipe"):
        assert read_checked(fitted / f"{name}.json", "") == choice[name]
    assert choice["recipe"]["seed"] == 3
    assert choice["predicted"]["macs"] <= 330_000 and choice["why"]
    assert not list(fitted.rglob("*.part"))


def predictions(command: str, capsys: pytest.CaptureFixture[str]) -> list[tuple[str, float]]:
    """Class and probability of each image, from `predict` in one of its formats."""
    assert run_command(command) == 0
    out = capsys.readouterr().out
    if command.endswith("json"):
        return [(r["top"][0]["class"], r["top"][0]["probability"]) for r in json.loads(out)]
    if command.endswith("csv"):
        rows = csv.DictReader(io.StringIO(out))
        return [(row["class"], float(row["probability"])) for row in rows]
    lines = re.findall(r"(\S+) (\d+\.\d) %$", out, re.MULTILINE)
    return [(name, float(percent) / 100) for name, percent in lines]


@pytest.mark.parametrize("form", ["table", "csv", "json"])
@pytest.mark.parametrize("model", ["", "/model.onnx", "/best.safetensors"])
def test_predict_gives_what_the_loaded_network_gives(
    fitted: Path, images: Path, model: str, form: str, capsys: pytest.CaptureFixture[str]
):
    network = phiscale.load(fitted)
    files = sorted(images.iterdir())
    pixels = np.stack([network.preprocessing(Image.open(file)) for file in files])
    with torch.inference_mode():
        best = network(torch.from_numpy(pixels)).softmax(1).max(1)
    expected = [
        (network.metadata.classes[i], float(p))
        for p, i in zip(best.values, best.indices, strict=True)
    ]
    printed = predictions(f"predict {fitted}{model} {images} --top 1 --format {form}", capsys)
    assert [name for name, _ in printed] == [name for name, _ in expected]
    assert [p for _, p in printed] == pytest.approx([p for _, p in expected], abs=1e-3)


def test_the_python_predictor_gives_the_same(fitted: Path, images: Path):
    files = sorted(images.iterdir())
    from_file, from_folder = (
        phiscale.Predictor(where)(files) for where in (fitted / "model.onnx", fitted)
    )
    assert isinstance(from_file, list) and isinstance(from_folder, list)
    assert [p.label for p in from_file] == [p.label for p in from_folder]


def test_evaluate_of_the_run_and_of_the_export_agree_with_the_evaluation(
    fitted: Path, capsys: pytest.CaptureFixture[str]
):
    metrics = json.loads((fitted / "evaluation.json").read_text())["metrics"]
    for model in ("", "/model.onnx", "/best.safetensors"):
        assert run_command(f"evaluate {fitted}{model} digits --json") == 0
        printed = json.loads(capsys.readouterr().out)
        assert (printed["images"], printed["top1"]) == (metrics["images"], metrics["top1"])
        assert printed["cross_entropy"] == pytest.approx(metrics["cross_entropy"], abs=1e-4)
        assert printed["confusion"] == metrics["confusion"]


def test_the_prediction_of_every_test_image_is_stored(fitted: Path):
    with (fitted / "test-predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    metrics = json.loads((fitted / "evaluation.json").read_text())["metrics"]
    assert [row["key"] for row in rows] == list(open_dataset("digits").test.keys)
    correct = sum(row["truth"] == row["predicted"] for row in rows)
    assert correct / len(rows) == pytest.approx(metrics["top1"])


def test_the_report_stands_alone_and_shows_the_accuracy(fitted: Path):
    page = (fitted / "report.html").read_text(encoding="utf-8")
    metrics = json.loads((fitted / "evaluation.json").read_text())["metrics"]
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    assert re.search(rf"\b{100 * metrics['top1']:.1f}\s*%", text)
    assert "accuracy" in text.lower() and "interval" in text.lower()
    assert "<script" not in page and "<link" not in page and "@import" not in page
    sources = re.findall(r"(?:src|href)=[\"']?([^\"'>\s]+)", page)
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "url(http" not in page


def test_the_reports_lines_for_onnx_runtime_answer_as_predict_does(
    fitted: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    page = html.unescape((fitted / "report.html").read_text(encoding="utf-8"))
    code = page.split("ONNX Runtime alone")[1].split("<code>")[1].split("</code>")[0]
    assert "import phiscale" not in code and "torch" not in code
    predict = phiscale.Predictor(fitted / "model.onnx")
    for image in sorted(images.iterdir())[:5]:
        exec(code.replace("photo.jpg", str(image)), {})
        answered = capsys.readouterr().out.splitlines()
        expected = predict([image])[0].top(3)
        assert answered == [f"{name} {round(100 * float(p), 1)} %" for name, p in expected]


def test_the_report_names_candidates_so_that_they_can_be_said(fitted: Path):
    page = (fitted / "report.html").read_text(encoding="utf-8")
    assert re.search(r"small-d\d\.\d\d-w\d\.\d\d-\d+px", page) and "depth x" not in page
    assert "depth x" in (fitted / "choice.json").read_text()


def test_a_map_of_less_than_four_cells_is_left_out(fitted: Path):
    page = (fitted / "report.html").read_text(encoding="utf-8")
    assert "Activation maps are left out" in page and "class activation map over it" not in page


def test_wrong_samples_show_a_confusion_at_most_twice(fitted: Path):
    page = (fitted / "report.html").read_text(encoding="utf-8")
    pairs = re.findall(
        r"✗ predicted</span><b><bdi>(.*?)</bdi></b><span>true</span><b><bdi>(.*?)</bdi>", page
    )
    assert pairs and max(Counter(pairs).values()) <= 2


def test_the_confusion_matrix_shows_counts_on_hover(fitted: Path):
    page = (fitted / "report.html").read_text(encoding="utf-8")
    matrix = json.loads((fitted / "evaluation.json").read_text())["metrics"]["confusion"]
    counts = [int(n) for n in re.findall(r"<title>true .*?, predicted .*?: (\d+) of", page)]
    assert counts == [n for row in matrix for n in row if n]


def test_the_report_names_the_coefficients(plan_files: Path, tmp_path: Path):
    out = tmp_path / "along"
    with_coefficients = request(plan_files, coefficients=str(plan_files / "found.json"))
    run_fit(with_coefficients, out, FitRuntime(measurements=fixed_measurements()))
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "only those by the named coefficients competed: 1.3^phi, 1.15^phi, 1.1^phi (grid" in page
    assert json.loads((out / "choice.json").read_text())["law_source"] == "made up"  # `law` wins
