"""The error after fine-tuning, predicted from a linear probe."""

from hypothesis import given
from hypothesis import strategies as st

from phiscale.pipeline.fine_tuning import Probe, fine_tuned_error

probes = st.builds(
    Probe,
    error=st.floats(0, 0.95),
    train_images=st.integers(1, 6000),
    validation_images=st.integers(1, 2000),
    seconds=st.just(1.0),
)


@given(probe=probes, train=st.integers(1, 10**6), seen=st.floats(0, 1e7))
def test_fine_tuning_never_ends_worse_than_its_probe_and_longer_ones_end_better(
    probe: Probe, train: int, seen: float
):
    start = fine_tuned_error(probe, probe.train_images, 0)
    assert 0 < fine_tuned_error(probe, train, seen) <= start
    assert fine_tuned_error(probe, train, 2 * seen + 1) < fine_tuned_error(probe, train, seen)


def test_no_error_among_few_images_is_not_taken_for_perfect():
    perfect = Probe(error=0.0, train_images=100, validation_images=50, seconds=1.0)
    assert fine_tuned_error(perfect, 100, 0) == 0.01
