"""What all tests share: `st.from_type(Spec)` draws any small network that can be built.

What draws it is in `support/`, a package that tests import by name.
`pytest --hypothesis-profile=explore` draws new examples; the default ones are the same every time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from phiscale.arch.scaling import Scaling
from phiscale.arch.spec import Spec, Stage
from support.strategies import multipliers, specs, stages

settings.register_profile("steady", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("explore", max_examples=500, deadline=None)
settings.load_profile("steady")

st.register_type_strategy(Stage, stages())
st.register_type_strategy(Spec, specs())
st.register_type_strategy(
    Scaling, st.builds(Scaling, depth=multipliers, width=multipliers, resolution=multipliers)
)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch's sums depend on how many threads share them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def three_threads() -> Iterator[None]:
    """A number of torch's threads that is nobody's default."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def plan_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A device model, a law and coefficients to plan with."""
    from support.fits import write_plan_files

    return write_plan_files(tmp_path_factory.mktemp("plan"))


@pytest.fixture(scope="session")
def fitted(plan_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `fit` has filled."""
    from phiscale.pipeline.run import FitRuntime, run_fit
    from support.fits import fixed_measurements, request

    out = tmp_path_factory.mktemp("fits") / "fitted"
    run_fit(request(plan_files), out, FitRuntime(measurements=fixed_measurements()))
    return out


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests leave nothing in the user's cache and find nothing there, in child processes too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHISCALE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
