"""Verbs that train many networks to learn from them: search coefficients, study."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from phiscale.cli.output import show_json
from phiscale.cli.parameters import as_flags
from phiscale.cli.values import (
    Data,
    Device,
    File,
    Member,
    Number,
    Out,
    Seed,
    SpecName,
    Switch,
    Times,
    Whole,
    command_line,
    in_range,
    spec_of,
)
from phiscale.errors import UsageError

if TYPE_CHECKING:
    from phiscale.search.engine.runner import RunnerConfig

MOST_PHI = 10  # of a family; the paper's has 7

Sets = Annotated[tuple[str, ...], arg(metavar="DATA", help_behavior_hint="")]
Url = Annotated[str | None, arg(metavar="URL", help_behavior_hint="")]
Numbers = Annotated[tuple[float, ...], arg(metavar="NUMBER", help_behavior_hint="")]
Spaces = Annotated[tuple[str, ...], arg(metavar="SPACE", help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class Workers:
    """What trains. Any number of machines run the same command with one --storage."""

    storage: Url = None
    """Database, postgresql://USER@HOST/NAME for several machines; by default a file in --out."""
    study_name: Annotated[str, arg(metavar="NAME")] = "phiscale"
    """Name of the study in the database."""
    workers: Whole = None
    """Processes on this machine; by default one for each core, or one on a GPU."""
    threads: Annotated[int, arg(metavar="N")] = 1
    """Threads of a training; a setting of the study, the same on all machines."""
    device: Device = "auto"
    """Device that trains; auto uses the one of the earlier start, else a GPU where there is one."""

    def runner(self, out: Path) -> "RunnerConfig":
        """How the trainings run in this folder."""
        from phiscale.search.functions import runner_for

        return runner_for(out, **asdict(self))


HERE = Workers()
Together = Annotated[Workers, arg(name="")]


def search_coefficients(
    spec: Positional[SpecName],
    data: Positional[Sets],
    /,
    *,
    out: Out,
    method: Literal["lawscale", "grid", "both"] = "lawscale",
    compute: Times = 2.0,
    units: Annotated[float, arg(metavar="NUMBER")] = 14.0,
    cost: Annotated[str, arg(metavar="COST")] = "macs",
    device_model: File = None,
    resolution: Whole = None,
    epochs: Annotated[float, arg(metavar="NUMBER")] = 6.0,
    train_images: Whole = None,
    seeds: Annotated[int, arg(metavar="N")] = 3,
    rates: Numbers = (),
    seed: Seed = 0,
    json: Switch = False,
    workers: Together = HERE,
) -> None:
    """Search alpha, beta and gamma for a network on an image set, by trainings.

    The found.json in --out is what describe, solve and fit take as --coefficients. With several
    DATA, each is searched alike and their coefficients are compared. The same command resumes.

    Args:
        spec: Network to scale: a model's name, a spec.json, or file.py:NAME.
        data: Image folder, named set (digits, cifar10, ...), or tar shards; or several of them.
        out: Folder of the search, new or of an earlier start of the same search.
        method: lawscale is a designed experiment with an error law; grid is the paper's search.
        compute: Cost over the base's at which coefficients are wanted; below 1 to shrink.
        units: Cost of a method in trainings of the base; the confirmation is not counted.
        cost: Cost metric: macs, params, activations, weight-bytes, peak-memory, train-memory, or
            latency-ms by --device-model.
        device_model: The device.json of `phiscale calibrate`.
        resolution: Pixels of the base; by default half of what the images have.
        epochs: Epochs of every training; with several DATA on the first, on the others as many
            images.
        train_images: Number of training images, evenly over the classes; by default all.
        seeds: Seeds of the confirmation; 0 leaves it for later.
        rates: Learning rates to choose from; by default 0.1 0.2 0.4 0.8.
        seed: First seed of the confirmation; the trainings before it use seeds after those.
        json: Print JSON.
    """
    from phiscale.planning.device import DeviceModel
    from phiscale.search.coefficients.request import SearchRequest
    from phiscale.search.coefficients.search import search_coefficients
    from phiscale.search.engine.tuning import Tuning
    from phiscale.search.functions import check_numbers

    in_range("--seed", seed, 0)
    in_range("--resolution", resolution)
    in_range("--train-images", train_images)
    check_numbers(epochs, rates)
    if not data:
        raise UsageError("search coefficients needs DATA: images to train on.")
    base = spec_of(spec)
    request = SearchRequest(
        methods=("lawscale", "grid") if method == "both" else (method,),
        units=units,
        compute=compute,
        cost=cost,
        resolution=resolution,
        epochs=epochs,
        seeds=seeds,
        train_images=train_images,
        threads=workers.threads,
        seed=seed,
        device=DeviceModel.read(device_model) if device_model else None,
        tuning=Tuning(rates=rates) if rates else Tuning(),
    )
    result = search_coefficients(base, data, request, workers.runner(out), command=command_line())
    if json:
        found = {each: answer.to_dict() for each, answer in result.coefficients.items()}
        return show_json({"found": found, "compared": result.comparison})
    print(as_flags(str(result)))


def study(
    data: Positional[Data],
    /,
    *,
    out: Out,
    preset: Literal["smoke", "standard", "gpu", "cifar10-replication", "family"] = "smoke",
    model: Member = None,
    resolution: Whole = None,
    seeds: Whole = None,
    epochs: Number = None,
    train_images: Whole = None,
    rates: Numbers = (),
    phi: Numbers = (),
    coefficients: File = None,
    design_space: Spaces = (),
    networks: Whole = None,
    plan: Switch = False,
    seed: Seed = 0,
    json: Switch = False,
    workers: Together = HERE,
) -> None:
    """Test whether scaling all dimensions pays: matched arms, seeds, a verdict.

    It also trains a family (--preset family), or compares two design spaces (--design-space).

    The preset smoke shows that it works (70 minutes of two cores), standard takes a night, gpu
    minutes; --plan prints the differences that they can detect. cifar10-replication repeats a
    study that detected nothing, without its flaws. family trains models of a ray and predicts the
    rest. The same command resumes.

    Args:
        data: Image folder, named set (digits, cifar10, ...), or tar shards.
        out: Folder of the study, new or of an earlier start of the same study.
        preset: Size or question of the study.
        model: SPEC of the network to scale; by default small, or the preset's.
        resolution: Pixels of the base; by default half of what the images have.
        seeds: Number of seeds; by default the preset's.
        epochs: Epochs of a training; by default the preset's.
        train_images: Number of training images; by default the preset's.
        rates: Learning rates that every arm chooses from; by default the preset's.
        phi: Values of phi to train with --preset family; by default -1 0 1 2.
        coefficients: The found.json of `search coefficients`, for --preset family.
        design_space: Two of free, compound, depth, width, resolution, uniform, dWr, compared by the
            errors of --networks networks of each (20), all of twice the base's MACs.
        networks: Number of networks of each design space.
        plan: Only print what would be trained, and its caveats.
        seed: First of the seeds.
        json: Print JSON.
    """
    for flag, value in (
        ("--resolution", resolution),
        ("--train-images", train_images),
        ("--networks", networks),
    ):
        in_range(flag, value)
    in_range("--seed", seed, 0)
    in_range("--seeds", seeds, 2)
    from phiscale.search.functions import check_numbers

    check_numbers(epochs, rates)
    if preset != "family" and (phi or coefficients):
        raise UsageError(
            "--phi and --coefficients are for --preset family. Add it, or leave them out."
        )
    if design_space and (preset != "smoke" or seeds is not None):
        raise UsageError(
            "--design-space takes no --preset and no --seeds: it trains each network once. "
            "Leave them out."
        )
    if design_space and rates:
        raise UsageError(
            "--design-space takes no --rates: all its networks have one. Leave it out."
        )
    if networks is not None and not design_space:
        raise UsageError("--networks is for --design-space. Add it, or leave it out.")
    from phiscale.search.study.request import StudyRequest
    from phiscale.search.study.run import run_study
    from phiscale.search.study.run_family import run_family
    from phiscale.search.study.run_spaces import run_design_spaces

    request = StudyRequest(
        base=spec_of(model) if model else None,
        resolution=resolution,
        seeds=seeds,
        epochs=epochs,
        train_images=train_images,
        rates=rates,
        threads=workers.threads,
        seed=seed,
    )
    runner = workers.runner(out)
    common = {"command": command_line(), "train": not plan}
    if design_space:
        if len(design_space) != 2:
            raise UsageError("--design-space compares two. Use e.g. --design-space free compound.")
        output = run_design_spaces(
            data, (design_space[0], design_space[1]), networks or 20, request, runner, **common
        )
    elif preset == "family":
        phis = _finite("--phi", phi) or (-1.0, 0.0, 1.0, 2.0)
        if far := [each for each in phis if abs(each) > MOST_PHI]:
            raise UsageError(f"--phi {far[0]:g} is out of range. Use -{MOST_PHI} to {MOST_PHI}.")
        output = run_family(data, phis, coefficients, request, runner, **common)
    else:
        output = run_study(data, preset, request, runner, **common)
    if json:
        return show_json(output.data)
    for line in output.lines:
        print(as_flags(line))


def _finite(flag: str, numbers: tuple[float, ...]) -> tuple[float, ...]:
    """The numbers. Raises UsageError for an infinite one."""
    for number in numbers:
        if not math.isfinite(number):
            raise UsageError(f"{flag} {number} is out of range. Use finite numbers.")
    return numbers
