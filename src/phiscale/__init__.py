"""phiscale: one number, phi, scales depth, width and resolution of a ConvNet together.

    build(scale(get_spec("efficientnet_b0"), compound(1)))

Names are imported when first used, so that what needs no torch does not load it.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phiscale.arch.costs import Cost, cost
    from phiscale.arch.families import MEMBERS, get_spec
    from phiscale.arch.scaling import Scaling, compound, scale
    from phiscale.arch.spec import Spec, Stage
    from phiscale.compat import create_model, list_models
    from phiscale.deploy.predict import Predictor
    from phiscale.nn.network import build
    from phiscale.pipeline.fit import fit
    from phiscale.planning.budget import Budget, PlanningTask, solve
    from phiscale.weights.sources import load
    from phiscale.weights.store import save

__version__ = "0.1.0"

# a library says nothing by itself; the command line, or the host, installs a handler
logging.getLogger(__name__).addHandler(logging.NullHandler())

_HOMES = {
    "MEMBERS": "arch.families",
    "Budget": "planning.budget",
    "Cost": "arch.costs",
    "PlanningTask": "planning.budget",
    "Predictor": "deploy.predict",
    "Scaling": "arch.scaling",
    "Spec": "arch.spec",
    "Stage": "arch.spec",
    "build": "nn.network",
    "compound": "arch.scaling",
    "cost": "arch.costs",
    "create_model": "compat",
    "fit": "pipeline.fit",
    "get_spec": "arch.families",
    "list_models": "compat",
    "load": "weights.sources",
    "save": "weights.store",
    "scale": "arch.scaling",
    "solve": "planning.budget",
}

__all__ = [
    "MEMBERS",
    "Budget",
    "Cost",
    "PlanningTask",
    "Predictor",
    "Scaling",
    "Spec",
    "Stage",
    "__version__",
    "build",
    "compound",
    "cost",
    "create_model",
    "fit",
    "get_spec",
    "list_models",
    "load",
    "save",
    "scale",
    "solve",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'phiscale' has no attribute {name!r}")
    return getattr(import_module(f"phiscale.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
