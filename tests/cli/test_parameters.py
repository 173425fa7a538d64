"""Messages in Python's terms become messages in the command line's."""

import pytest

from phiscale.cli.fitting import fit
from phiscale.cli.parameters import as_flags, flags_of, in_flags
from phiscale.errors import UsageError

FIT = flags_of(fit)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("latency_ms=0 is no limit.", "--latency-ms 0 is no limit."),
        ("latency_ms=0.5. Use more.", "--latency-ms 0.5. Use more."),
        ("Give `device_model`.", "Give --device-model."),
        ('Use `on_bad="skip"`.', "Use --on-bad skip."),
        ("on_bad='skip', or", "--on-bad skip, or"),
        ("`from_scratch=False` leaves", "--no-from-scratch leaves"),
        ("train_memory_bytes=5 is", "--train-memory 5 is"),
        ("budget.macs=5: is", "--macs 5: is"),
        ("seed=3 -> 4; base=None -> small", "--seed 3 -> 4; --base not given -> small"),
        ("from_scratch=True -> False", "--from-scratch True -> False"),
        ("Fix `data`", "Fix DATA"),
        ("stages[0].kernel=4 is even", "stages[0].kernel=4 is even"),
        ("`phiscale models` lists them", "`phiscale models` lists them"),
        ("out='a b' is", "--out 'a b' is"),
        ("postgresql://host/db?seed=1", "postgresql://host/db?seed=1"),
    ],
)
def test_parameters_of_the_verb_are_written_as_flags(message: str, shown: str):
    assert as_flags(message, FIT) == shown


def test_an_error_names_the_flags_of_the_verb_that_runs():
    with pytest.raises(UsageError, match=r"^--seed -1 is"), in_flags(FIT):
        raise UsageError("seed=-1 is out of range.")
    assert as_flags("seed=-1") == "seed=-1"
