"""phiscale: one number, phi, scales depth, width and resolution of a ConvNet together.

    build(scale(get_spec("efficientnet_b0"), compound(1)))

Names are imported when first used, so that what needs no torch does not load it.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from phiscale.errors import full_install

if TYPE_CHECKING:
    from phiscale.arch.costs import Cost, cost
    from phiscale.arch.families import MEMBERS, get_spec
    from phiscale.arch.scaling import Scaling, compound, scale
    from phiscale.arch.spec import Spec, Stage
    from phiscale.compat import create_model
    from phiscale.data.audit import audit
    from phiscale.data.datasets.open import open_dataset
    from phiscale.deploy.calibrate import calibrate
    from phiscale.deploy.inference import evaluate, predict
    from phiscale.deploy.predict import Prediction, Predictor
    from phiscale.nn.network import build
    from phiscale.pipeline.export import export
    from phiscale.pipeline.fit import fit
    from phiscale.pipeline.run_folder import Run
    from phiscale.pipeline.train import train
    from phiscale.planning.budget import Budget, PlanningTask, solve
    from phiscale.planning.coefficients import Coefficients
    from phiscale.planning.device import DeviceModel
    from phiscale.planning.laws import Law
    from phiscale.report.deviation_report import deviation
    from phiscale.report.law_fit import fit_law
    from phiscale.report.law_predictions import predict_errors
    from phiscale.search.coefficients.search import search_coefficients
    from phiscale.search.rates import compare_rates
    from phiscale.search.study.run import scaling_study
    from phiscale.search.study.run_family import predict_family
    from phiscale.search.study.run_spaces import compare_spaces
    from phiscale.training.metrics import Metrics
    from phiscale.training.recipes.recipe import Recipe
    from phiscale.training.recipes.table import RECIPES
    from phiscale.weights.importing import import_weights
    from phiscale.weights.listing import list_models
    from phiscale.weights.sources import load
    from phiscale.weights.store import save

__version__ = "0.1.0"

# a library says nothing by itself; the command line, or the host, installs a handler
logging.getLogger(__name__).addHandler(logging.NullHandler())

_HOMES = {
    "Budget": "planning.budget",
    "Coefficients": "planning.coefficients",
    "Cost": "arch.costs",
    "DeviceModel": "planning.device",
    "Law": "planning.laws",
    "MEMBERS": "arch.families",
    "Metrics": "training.metrics",
    "PlanningTask": "planning.budget",
    "Prediction": "deploy.predict",
    "Predictor": "deploy.predict",
    "RECIPES": "training.recipes.table",
    "Recipe": "training.recipes.recipe",
    "Run": "pipeline.run_folder",
    "Scaling": "arch.scaling",
    "Spec": "arch.spec",
    "Stage": "arch.spec",
    "audit": "data.audit",
    "build": "nn.network",
    "calibrate": "deploy.calibrate",
    "compare_rates": "search.rates",
    "compare_spaces": "search.study.run_spaces",
    "compound": "arch.scaling",
    "cost": "arch.costs",
    "create_model": "compat",
    "deviation": "report.deviation_report",
    "evaluate": "deploy.inference",
    "export": "pipeline.export",
    "fit": "pipeline.fit",
    "fit_law": "report.law_fit",
    "get_spec": "arch.families",
    "import_weights": "weights.importing",
    "list_models": "weights.listing",
    "load": "weights.sources",
    "open_dataset": "data.datasets.open",
    "predict": "deploy.inference",
    "predict_errors": "report.law_predictions",
    "predict_family": "search.study.run_family",
    "save": "weights.store",
    "scale": "arch.scaling",
    "scaling_study": "search.study.run",
    "search_coefficients": "search.coefficients.search",
    "solve": "planning.budget",
    "train": "pipeline.train",
}

__all__ = [
    "MEMBERS",
    "RECIPES",
    "Budget",
    "Coefficients",
    "Cost",
    "DeviceModel",
    "Law",
    "Metrics",
    "PlanningTask",
    "Prediction",
    "Predictor",
    "Recipe",
    "Run",
    "Scaling",
    "Spec",
    "Stage",
    "__version__",
    "audit",
    "build",
    "calibrate",
    "compare_rates",
    "compare_spaces",
    "compound",
    "cost",
    "create_model",
    "deviation",
    "evaluate",
    "export",
    "fit",
    "fit_law",
    "get_spec",
    "import_weights",
    "list_models",
    "load",
    "open_dataset",
    "predict",
    "predict_errors",
    "predict_family",
    "save",
    "scale",
    "scaling_study",
    "search_coefficients",
    "solve",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'phiscale' has no attribute {name!r}")
    with full_install(f"phiscale.{name}"):
        return getattr(import_module(f"phiscale.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
