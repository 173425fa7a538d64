"""The functions and classes at the top of phiscale, as a Python user meets them."""

import inspect
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import phiscale
from phiscale.cli import COMMANDS
from phiscale.errors import CheckpointError, PhiscaleError, UsageError
from phiscale.pipeline.notebook import bar, in_kernel
from phiscale.pipeline.request import Request
from phiscale.pipeline.run import FitRuntime, PreparedFit, prepare_fit
from phiscale.text import python_call
from phiscale.training.callbacks import Progress
from phiscale.training.recipes.recipe import Recipe
from phiscale.training.recipes.table import RECIPE_ENTRIES
from phiscale.training.run import TrainRequest
from phiscale.training.transfer import check_start
from support.fits import EVERYTHING, fixed_measurements, made_up_device, write_plan_files

FIT = (
    "data",
    "out",
    "train_minutes",
    "latency_ms",
    "macs",
    "params",
    "weight_bytes",
    "train_memory_bytes",
    "budget",
    "base",
    "pretrained",
    "from_scratch",
    "device_model",
    "law",
    "coefficients",
    "on_bad",
    "min_epochs",
    "max_megapixels",
    "value_range",
    "device",
    "seed",
    "callbacks",
)

TRAININGS = ("storage", "study_name", "workers", "threads", "device", "command")

SIGNATURES = {
    "audit": ("images", "workers", "progress"),
    "build": None,
    "compound": ("phi", "alpha", "beta", "gamma"),
    "deviation": (
        "networks",
        "phi",
        "coefficients",
        "device_model",
        "measure",
        "timings",
        "rounds",
        "command",
    ),
    "evaluate": ("model", "data", "split", "device", "batch_size", "max_megapixels", "value_range"),
    "export": ("model", "to", "out", "data"),
    "fit": FIT,
    "fit_law": ("table", "axes", "base", "hold_out", "run_sd", "robust", "compute_ratio"),
    "get_spec": ("name",),
    "import_weights": ("source", "out", "model", "classes"),
    "load": ("source", "classes", "in_channels"),
    "open_dataset": ("data", "split", "max_megapixels"),
    "predict": ("model", "images", "top", "device", "batch_size", "max_megapixels", "value_range"),
    "predict_errors": ("law", "networks", "phi", "coefficients", "images_seen"),
    "solve": ("base", "budget", "task", "name", "axes", "family_offset", "candidates"),
    "scaling_study": (
        "data",
        "out",
        "preset",
        "model",
        "resolution",
        "seeds",
        "epochs",
        "train_images",
        "rates",
        "plan",
        "seed",
        *TRAININGS,
    ),
    "predict_family": (
        "data",
        "out",
        "phi",
        "coefficients",
        "model",
        "resolution",
        "seeds",
        "epochs",
        "train_images",
        "rates",
        "plan",
        "seed",
        *TRAININGS,
    ),
    "compare_rates": (
        "model",
        "data",
        "out",
        "recipe",
        "depths",
        "widths",
        "steps",
        "epochs",
        "resolution",
        "seed",
        "device",
        "callbacks",
        "command",
    ),
    "compare_spaces": (
        "data",
        "out",
        "spaces",
        "networks",
        "model",
        "resolution",
        "epochs",
        "train_images",
        "plan",
        "seed",
        *TRAININGS,
    ),
    "train": (
        "model",
        "data",
        "out",
        "recipe",
        "variant_of",
        "epochs",
        "seed",
        "as_published",
        "pretrained",
        "resolution",
        "on_bad",
        "max_megapixels",
        "value_range",
        "accept_changed_data",
        "device",
        "deterministic",
        "workers",
        "keep",
        "timeout_s",
        "callbacks",
        "track",
    ),
}


@pytest.mark.parametrize("name", [name for name in phiscale.__all__ if name[0] != "_"])
def test_every_public_name_has_a_docstring_or_is_a_table(name: str):
    value = getattr(phiscale, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert (value.__doc__ or "").strip().splitlines()[0]
    else:
        assert len(value)


@pytest.mark.parametrize(("name", "parameters"), SIGNATURES.items())
def test_functions_spell_out_their_parameters(name: str, parameters: tuple[str, ...] | None):
    signature = inspect.signature(getattr(phiscale, name))
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    assert (
        inspect.Parameter.VAR_KEYWORD not in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds
    )
    assert all(p.annotation is not p.empty for p in signature.parameters.values())
    if parameters is not None:
        assert tuple(signature.parameters) == parameters


@pytest.mark.parametrize("name", ["evaluate", "predict", "export"])
def test_a_run_takes_what_the_function_takes_after_the_model(name: str):
    function = list(inspect.signature(getattr(phiscale, name)).parameters.values())
    method = list(inspect.signature(getattr(phiscale.Run, name)).parameters.values())
    assert [(p.name, p.kind, p.default) for p in method[1:]] == [
        (p.name, p.kind, p.default) for p in function[1:]
    ]


def test_the_command_and_the_function_name_as_many_classes():
    top = inspect.signature(phiscale.predict).parameters["top"].default
    assert inspect.signature(COMMANDS["predict"]).parameters["top"].default == top


def test_a_run_has_its_spec_recipe_metrics_and_files(fitted: Path):
    run = phiscale.Run(fitted)
    assert run.folder == fitted and Path(run) == fitted
    assert run.spec == phiscale.load(fitted).spec
    assert run.recipe.seed == 3
    assert run.weights == fitted / "best.safetensors"
    assert run.report == fitted / "report.html"
    assert 0 <= run.metrics["top1"] <= 1
    assert [record["images_seen"] for record in run.history] == sorted(
        record["images_seen"] for record in run.history
    )
    assert any("validation_top1" in record for record in run.history)
    assert str(fitted) in run._repr_html_() and "top-1 accuracy" in run._repr_html_()


def test_a_run_predicts_evaluates_and_loads(fitted: Path):
    run, digits = phiscale.Run(fitted), phiscale.open_dataset("digits")
    image = digits.test.image(0)
    one = run.predict(image)
    assert isinstance(one, phiscale.Prediction) and one.label in digits.classes
    many = run.predict([image, np.asarray(image.convert("RGB"))])
    assert isinstance(many, list) and [each.label for each in many] == [one.label] * 2
    metrics = run.evaluate(digits)
    assert metrics.top1 == run.metrics["top1"]
    assert phiscale.evaluate(run.load(), digits).top1 == metrics.top1
    assert phiscale.evaluate(run, digits).top1 == metrics.top1


def test_a_folder_that_holds_no_run_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"holds no training: neither recipe\.json"):
        phiscale.Run(tmp_path)
    with pytest.raises(CheckpointError, match="no folder"):
        phiscale.Run(tmp_path / "nope")


def test_fit_from_python_returns_a_run_and_calls_back(plan_files: Path, tmp_path: Path):
    steps: list[Progress] = []
    arguments = {
        "train_minutes": 0.02,
        "macs": "330K",
        "min_epochs": 0.05,
        "device_model": plan_files / "device.json",
        "law": plan_files / "law.json",
    }
    run = phiscale.fit("digits", tmp_path / "run", callbacks=[steps.append], **arguments)
    assert {path.name for path in run.folder.iterdir()} >= EVERYTHING
    assert run.spec.resolution and run.report is not None
    assert steps and steps[-1].images_seen == steps[-1].total
    assert run.report is not None
    made_with = f"phiscale.fit(&#39;digits&#39;, &#39;{run.folder}&#39;, train_minutes=0.02"
    assert made_with in run.report.read_text(encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"seed=0 -> 1"):
        phiscale.fit("digits", tmp_path / "run", seed=1, **arguments)


def test_fit_accepts_values_and_names_them_by_their_contents(
    plan_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "run"
    calls: list[tuple[Request, FitRuntime]] = []
    monkeypatch.setattr(
        "phiscale.pipeline.fit.run_fit",
        lambda request, out, runtime: calls.append((request, runtime)),
    )
    law = phiscale.Law.read(plan_files / "law.json")
    coefficients = phiscale.Coefficients.read(plan_files / "found.json")
    device_model = phiscale.DeviceModel.read(plan_files / "device.json")

    def plan(**changed: Any) -> PreparedFit:
        arguments: dict[str, Any] = {
            "device_model": device_model,
            "law": law,
            "coefficients": coefficients,
        }
        phiscale.fit("digits", out, macs="330K", train_minutes=1, **{**arguments, **changed})
        request, runtime = calls[-1]
        return prepare_fit(request, out, fixed_measurements(), runtime.in_memory)

    first = plan()
    assert first.device_model == device_model and first.choice.law_source == law.source
    assert phiscale.Law.read(out / "law.json") == law
    assert phiscale.Coefficients.read(out / "found.json") == coefficients
    assert "law=Law(...)" in calls[0][1].command
    assert plan(law=phiscale.Law.read(plan_files / "law.json")).choice == first.choice
    with pytest.raises(CheckpointError, match=r"law=Law sha256:\w+ -> None"):
        plan(law=None)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"data": "digits", "out": Path("s")}, "phiscale.scaling_study('digits', 's')"),
        (
            {"data": "d", "out": "s", "rates": (0.1, 0.2), "epochs": 3, "device": "auto"},
            "phiscale.scaling_study('d', 's', epochs=3, rates=[0.1, 0.2])",
        ),
        (
            {"data": "d", "out": "s", "storage": "postgresql://me:secret@host/db"},
            "phiscale.scaling_study('d', 's', storage='postgresql://me:***@host/db')",
        ),
        (
            {"data": "d", "out": "s", "model": phiscale.get_spec("small")},
            "phiscale.scaling_study('d', 's', model=Spec(...))",
        ),
    ],
)
def test_a_report_shows_the_call_that_made_it(arguments: dict[str, object], text: str):
    assert python_call(phiscale.scaling_study, arguments) == text


def test_a_family_and_a_comparison_of_spaces_can_be_planned_from_python(tmp_path: Path):
    for call in (phiscale.predict_family, phiscale.compare_spaces):
        output = call("digits", tmp_path / call.__name__, model="small", resolution=4, plan=True)
        assert output.report is None and output.data["plan"]


def test_train_takes_a_spec_an_open_set_and_a_recipe(tmp_path: Path):
    recipe = replace(phiscale.RECIPES["characters"], epochs=0.2, evaluations=1)
    spec = replace(phiscale.get_spec("small"), resolution=8)
    run = phiscale.train(spec, phiscale.open_dataset("digits"), tmp_path / "run", recipe)
    assert (run.spec.resolution, run.spec.classes) == (8, 10)
    assert run.report is None and run.recipe.epochs == 0.2
    assert phiscale.load(run).spec == run.spec


@pytest.mark.parametrize(
    ("pretrained", "name"), [(None, "small-data"), ("efficientnet_b0", "finetune")]
)
def test_trains_usual_recipe_starts_from_the_weights_that_there_are(
    pretrained: str | None, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Started(Exception):
        pass

    def started(request: TrainRequest, *_: object, **__: object) -> None:
        check_start(request.recipe, request.pretrained)
        assert request.recipe == phiscale.RECIPES[name]
        raise Started

    monkeypatch.setattr("phiscale.pipeline.train.train_run", started)
    with pytest.raises(Started):
        phiscale.train("small", "digits", tmp_path / "run", pretrained=pretrained)


def test_a_variant_of_a_named_recipe_scales_as_that_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    requests: list[TrainRequest] = []

    def kept(request: TrainRequest, out: Path, *_: object, **__: object) -> None:
        requests.append(request)
        out.mkdir(exist_ok=True)
        (out / "best.safetensors").touch()

    monkeypatch.setattr("phiscale.pipeline.train.train_run", kept)
    name, entry = "efficientnet-imagenet", RECIPE_ENTRIES["efficientnet-imagenet"]
    assert entry.published is not None
    small = replace(entry.recipe, batch=256)
    train = partial(phiscale.train, "small", "digits", tmp_path / "run")
    train(name, epochs=3, seed=5)
    train(small, variant_of=name)
    train(small)
    train(name, as_published=True, epochs=4)
    assert [request.recipe for request in requests] == [
        replace(entry.recipe, epochs=3, seed=5),
        small,
        small,
        replace(entry.published, epochs=4),
    ]
    printed = replace(entry, recipe=entry.published)
    assert [request.entry for request in requests] == [entry, entry, None, printed]
    assert [request.as_published for request in requests] == [False, False, False, True]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda out: phiscale.fit("digits", out, latency_ms=0),
            r"latency.ms.0 is not a finite number above 0",
        ),
        (lambda out: phiscale.fit("digits", out, macs="lots"), r"macs='lots' is not a count"),
        (
            lambda out: phiscale.fit("digits", out, from_scratch=False, pretrained=None),
            r"`from_scratch=False`",
        ),
        (lambda out: phiscale.train("small", "digits", out, "fotos"), r"unknown recipe 'fotos'"),
        (
            lambda out: phiscale.train("small", "digits", out, "photos", variant_of="photos"),
            r"recipe='photos' is a name",
        ),
        (
            lambda out: phiscale.train("small", "digits", out, "photos", as_published=True),
            r"photos is not a published recipe\. Leave out `as_published`",
        ),
        (
            lambda out: phiscale.train("small", "digits", out, Recipe(), as_published=True),
            r"`as_published` needs a source",
        ),
        (lambda out: phiscale.train("small", "digits", out, keep=0), r"keep=0 is out of range"),
        (
            lambda out: phiscale.train("small", "digits", out, resolution=0),
            r"resolution=0 is out of range",
        ),
        (
            lambda out: phiscale.train("small", "digits", out, track=("x",)),  # type: ignore[list-item]
            r"track='x' is unknown",
        ),
        (
            lambda out: phiscale.fit("digits", out, on_bad="no"),  # type: ignore[arg-type]
            r"on_bad='no' is unknown\. Use 'stop' or 'skip'",
        ),
        (
            lambda out: phiscale.train("small", "digits", out, on_bad="no"),  # type: ignore[arg-type]
            r"on_bad='no' is unknown",
        ),
        (lambda out: phiscale.search_coefficients("small", "digits", out, seeds=1), r"seeds=1"),
        (lambda out: phiscale.scaling_study("digits", out, epochs=0), r"epochs=0 trains nothing"),
        (
            lambda out: phiscale.scaling_study("digits", out, preset="x"),  # type: ignore[arg-type]
            r"preset='x' is unknown",
        ),
        (lambda out: phiscale.scaling_study("digits", out, seeds=1), r"seeds=1 has no spread"),
        (lambda out: phiscale.predict_family("digits", out, phi=(11,)), r"phi=11 is out of range"),
        (lambda out: phiscale.compare_spaces("digits", out, networks=0), r"networks=0 is out of"),
    ],
)
def test_errors_name_the_parameter_and_leave_no_folder(call, says: str, tmp_path: Path):  # type: ignore
    with pytest.raises(UsageError, match=says):
        call(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_progress_in_a_notebook_is_one_line():
    progress = Progress(images_seen=50, total=100, loss=0.5, images_per_s=10.0)
    assert bar(progress, width=4) == "██░░ 50/100 images, 10 img/s, loss 0.500"
    assert not in_kernel()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: phiscale.Budget(macs="400M"), r"macs='400M' is text"),  # type: ignore[arg-type]
        (lambda: phiscale.solve("small", {"macs": 4e8}), r"is no Budget"),  # type: ignore[arg-type]
        (lambda: phiscale.scale("small", 1.0), r"by=1.0 is no Scaling"),  # type: ignore[arg-type]
        (lambda: phiscale.Recipe(epochs="x"), r"epochs='x' is no number"),  # type: ignore[arg-type]
    ],
)
def test_values_of_another_type_are_refused_by_name(call, says: str):  # type: ignore
    with pytest.raises(PhiscaleError, match=says):
        call()


def test_paths_may_be_texts_everywhere(tmp_path: Path):
    write_plan_files(tmp_path)
    device = phiscale.DeviceModel.read(f"{tmp_path}/device.json")
    assert device == made_up_device()
    assert phiscale.audit("digits") == phiscale.audit(phiscale.open_dataset("digits"))
