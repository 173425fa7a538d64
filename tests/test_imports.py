"""What may be imported, and what that brings along."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import phiscale

ROOT = Path(phiscale.__file__).parent

# What design says of the public names: others rely on them.
FIXED = {
    "Spec",
    "Stage",
    "Scaling",
    "Cost",
    "PlanningTask",
    "Budget",
    "MEMBERS",
    "get_spec",
    "scale",
    "compound",
    "cost",
    "solve",
    "build",
    "calibrate",
    "load",
    "save",
    "fit",
    "Predictor",
    "create_model",
    "list_models",
    "RECIPES",
    "Coefficients",
    "DeviceModel",
    "Law",
    "Metrics",
    "Prediction",
    "Recipe",
    "Run",
    "audit",
    "deviation",
    "evaluate",
    "export",
    "fit_law",
    "import_weights",
    "open_dataset",
    "predict",
    "predict_errors",
    "scaling_study",
    "search_coefficients",
    "predict_family",
    "compare_rates",
    "compare_spaces",
    "train",
}

TORCH_FREE = (
    "phiscale",
    "phiscale.cli",
    "phiscale.errors",
    "phiscale.files",
    "phiscale.arch.spec",
    "phiscale.arch.scaling",
    "phiscale.arch.families",
    "phiscale.arch.layers",
    "phiscale.arch.ops",
    "phiscale.arch.costs",
    "phiscale.arch.deviation",
    "phiscale.planning.laws",
    "phiscale.planning.priors",
    "phiscale.planning.coefficients",
    "phiscale.planning.budget",
    "phiscale.planning.device",
    "phiscale.deploy.timing",
    "phiscale.report.deviation_report",
    "phiscale.report.law_fit",
    "phiscale.report.law_predictions",
    "phiscale.data.preprocessing",
    "phiscale.data.reading.decode",
    "phiscale.data.datasets.open",
    "phiscale.data.audit",
    "phiscale.training.recipes.table",
    "phiscale.training.metrics",
    "phiscale.data.batches",
    "phiscale.deploy.backend",
    "phiscale.deploy.images",
    "phiscale.deploy.predict",
    "phiscale.deploy.runtime",
    "phiscale.deploy.untrained_onnx",
    "phiscale.deploy.inference",
    "phiscale.weights.header",
    "phiscale.weights.listing",
    "phiscale.pipeline.run_folder",
    "phiscale.search.spaces.rays",
    "phiscale.search.coefficients.design",
    "phiscale.search.study.verdict",
)

NUMPY_FREE = (
    "phiscale",
    "phiscale.cli",
    "phiscale.arch.spec",
    "phiscale.arch.scaling",
    "phiscale.arch.families",
    "phiscale.arch.costs",
    "phiscale.arch.deviation",
    "phiscale.planning.laws",
    "phiscale.planning.priors",
    "phiscale.planning.budget",
    "phiscale.planning.device",
)


def loaded_by(code: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after `code`."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return set(run.stdout.splitlines()[-1].split())


def test_all_names_exactly_what_can_be_imported():
    assert len(set(phiscale.__all__)) == len(phiscale.__all__)
    assert FIXED | {"__version__"} == set(phiscale.__all__) == set(dir(phiscale))
    for name in phiscale.__all__:
        assert getattr(phiscale, name) is not None


def test_type_checkers_see_the_names_that_are_imported_when_used():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    [guarded] = [node for node in tree.body if isinstance(node, ast.If)]
    promised = {
        (alias.name, node.module)
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {name for name, _ in promised} == FIXED
    for name, module in promised:
        assert module is not None
        assert getattr(importlib.import_module(module), name) is getattr(phiscale, name)


def test_functions_are_verbs_and_none_is_a_module():
    for name in phiscale.__all__:
        value = getattr(phiscale, name)
        assert not inspect.ismodule(value)
        if inspect.isfunction(value):
            assert not (ROOT / f"{name}.py").exists() and not (ROOT / name).exists()


def test_a_class_name_stands_for_one_class_of_the_package():
    homes: dict[str, list[str]] = {}
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'biuld'"):
        phiscale.biuld  # noqa: B018


@pytest.mark.parametrize("module", TORCH_FREE)
def test_planning_and_predicting_need_no_torch(module: str):
    assert "torch" not in loaded_by(f"import {module}")


@pytest.mark.parametrize("module", NUMPY_FREE)
def test_numpy_is_loaded_where_it_is_used(module: str):
    assert not {"numpy", "scipy", "PIL"} & loaded_by(f"import {module}")


def test_a_plan_is_made_without_torch():
    plan = (
        "from phiscale import Budget, compound, cost, get_spec, scale, solve\n"
        "b0 = get_spec('efficientnet_b0'); assert cost(scale(b0, compound(1))).params > 9e6\n"
        "solve(get_spec('small'), Budget(macs=1e6))"
    )
    assert "torch" not in loaded_by(plan)


@pytest.mark.slow
def test_every_module_can_be_imported_first():
    """No module counts on another having been imported before it."""
    names = [
        ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        for path in sorted(ROOT.rglob("*.py"))
        if path.name != "__main__.py"
    ]
    first = "import importlib, os, torch\n"  # not ours, and slow: once for all
    each = (
        "if os.fork() == 0: importlib.import_module({0!r}); os._exit(0)\n"
        "assert not os.wait()[1], {0!r}"
    )
    code = first + "\n".join(each.format(name.removesuffix(".__init__")) for name in names)
    subprocess.run([sys.executable, "-c", code], check=True)
