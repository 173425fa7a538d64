"""The errors that phiscale raises on purpose.

A message says what is wrong with the value quoted, then what to do. It names Python parameters
(`latency_ms=0`); the command line writes them as flags.

PhiscaleError
├── UsageError        arguments that contradict each other or themselves (exit 2)
├── SpecError         a network that cannot be built
│   └── UnknownModel  a name that no model has; it is a UsageError as well (exit 2)
├── BudgetError       limits that no network meets
├── DataError         images or folders that cannot be used
│   └── BadImage      one image that cannot be read
├── CheckpointError   a run that cannot be resumed
├── TrainingError     a training that cannot continue (a loss that is not a number, ...)
├── WeightsError      a weights file that does not fit or cannot be trusted
├── ExportError       an exported file that differs from its network
├── MissingExtra      an optional dependency that is not installed
└── MissingPackage    a package that phiscale-core lacks; it is an ImportError as well
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


class PhiscaleError(Exception):
    """A mistake that the reader of the message can fix.

    The command line prints it without a traceback and exits with 1. Example:
    "cannot write out/spec.json: No space left on device. Free some space or write elsewhere."
    """


class UsageError(PhiscaleError):
    """Arguments that contradict each other or themselves.

    The command line exits with 2. Example:
    "erase=0.25 and cutout=0.5 fill the same area. Use one of them."
    """


class SpecError(PhiscaleError, ValueError):
    """A spec that no network can be built from.

    Example: "kernel=4 is even, so 'same' padding cannot be symmetric. Use 3 or 5."
    """


class UnknownModel(SpecError, UsageError):
    """A name that no model has.

    Example: "'smal' is not a model. Did you mean small? `phiscale models` lists all of them."
    """


class BudgetError(PhiscaleError):
    """Limits that no network meets.

    The message names the limit and the nearest network. Example:
    "no network fits macs=1000; the smallest has 5.2M. Raise macs."
    """


class DataError(PhiscaleError):
    """A data set that cannot be used.

    The message names the folder or the file. Example:
    "photos is empty. Put a folder of images per class into it."
    """


class BadImage(DataError):
    """One image that cannot be read.

    `reason` is short and stands beside the name of the file. Example:
    "cut short: the file ends before the image does"
    """

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class CheckpointError(PhiscaleError):
    """A run folder that cannot be resumed with these arguments.

    The message names what differs and how to start elsewhere. Example:
    "run 'out' was trained with lr_peak=0.256, this recipe has 0.128. Use the recipe of the run."
    """


class TrainingError(PhiscaleError):
    """A training that cannot continue.

    Example: "the loss is not a number after 12,800 images. Use a lower lr_peak."
    """


class WeightsError(PhiscaleError):
    """A weights file that does not fit its network, or that cannot be trusted.

    Example: "b0.pth: 1 tensors hold NaN or infinity (stem.conv.weight). Use another file."
    """


class ExportError(PhiscaleError):
    """An exported file whose outputs differ from those of its network.

    Example: "model.onnx and the network differ by 0.1 in a logit. Export the model again."
    """


class MissingExtra(PhiscaleError):
    """An optional dependency that is not installed.

    Example: "reading Keras's weights needs h5py. pip install 'phiscale[keras]'"
    """

    def __init__(self, task: str, package: str, extra: str):
        super().__init__(f"{task} needs {package}. pip install 'phiscale[{extra}]'")


class MissingPackage(PhiscaleError, ImportError):
    """A package that phiscale needs for this and phiscale-core does without, such as torch.

    Example: "phiscale.fit needs torch. Install it with: pip install phiscale"
    """

    def __init__(self, task: str, package: str):
        super().__init__(f"{task} needs {package}. Install it with: pip install phiscale")
        self.package = package


@contextmanager
def full_install(task: str) -> Generator[None, None, None]:
    """Raises MissingPackage where a package that is imported within is not installed.

    Of tasks within each other the outermost one is named: it is what the user called.
    """
    try:
        yield
    except MissingPackage as error:
        raise MissingPackage(task, error.package) from None
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "phiscale"):
            raise
        raise MissingPackage(task, package) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Tells whether memory ran out: Python's error, or torch's, which is a RuntimeError."""
    phrases = ("out of memory", "can't allocate memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in phrases)
    )
