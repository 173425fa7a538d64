"""Commands that train many networks to learn from them: search coefficients, study."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from phiscale.cli.output import show_json
from phiscale.cli.parameters import as_flags
from phiscale.cli.values import (
    Data,
    Device,
    File,
    Number,
    OptionalSpec,
    Out,
    Pixels,
    Seed,
    SpecName,
    Switch,
    Times,
    Whole,
    command_line,
    spec_of,
)
from phiscale.errors import UsageError

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
    resolution: Pixels = None,
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
        data: Image folders, CSV tables, named sets (digits, cifar10, ...), or tar shards.
        out: Folder of the search, new or of an earlier start of the same search.
        method: lawscale is a designed experiment with an error law; grid is the paper's search.
        compute: Size of the wanted network: its --cost over that of SPEC; below 1 to shrink.
        units: What the search itself may spend. A unit is the compute of one full training of SPEC;
            the final trainings that compare the answer with baselines are extra.
        cost: What --compute multiplies, counted for one image: macs, params, activations,
            weight-bytes, peak-memory, train-memory (saved activations), or latency-ms by
            --device-model.
        device_model: The device.json of `phiscale calibrate`.
        resolution: Pixels of a side at which the base is trained; by default half of the images'.
        epochs: Epochs of every training; with several DATA on the first, on the others as many
            images.
        train_images: Number of training images, evenly over the classes; by default all.
        seeds: Seeds of the final trainings that compare the answer with baselines; 0 leaves them
            for later.
        rates: Learning rates to choose from; by default 0.1 0.2 0.4 0.8.
        seed: First seed of the final trainings; the trainings before them use seeds after those.
        json: Print JSON.
    """
    from phiscale import search_coefficients

    if not data:
        raise UsageError("search coefficients needs DATA: images to train on.")
    result = search_coefficients(
        spec_of(spec),
        data,
        out,
        method=method,
        compute=compute,
        units=units,
        cost=cost,
        device_model=device_model,
        resolution=resolution,
        epochs=epochs,
        train_images=train_images,
        seeds=seeds,
        rates=rates,
        seed=seed,
        command=command_line(),
        **asdict(workers),
    )
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
    model: OptionalSpec = None,
    resolution: Pixels = None,
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

    A verdict needs seven seeds. The preset smoke has four: it shows that everything works (70
    minutes of two cores), and the same command with --seeds 7 continues to a verdict. standard
    takes a night, gpu minutes; --plan prints the differences that they can detect.
    cifar10-replication repeats a study that detected nothing, without its flaws. family trains
    models of a ray and predicts the rest. The same command resumes.

    Args:
        data: Image folder, CSV table, named set (digits, cifar10, ...), or tar shards.
        out: Folder of the study, new or of an earlier start of the same study.
        preset: Size or question of the study.
        model: Network to scale: a model's name, a spec.json, or file.py:NAME; by default small, or
            the preset's.
        resolution: Pixels of a side at which the base is trained; by default half of the images'.
        seeds: Number of seeds; by default the preset's. A verdict needs 7.
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
    if design_space and len(design_space) != 2:
        raise UsageError("--design-space compares two. Use e.g. --design-space free compound.")
    import phiscale

    common: dict[str, Any] = {
        "model": spec_of(model) if model else None,
        "resolution": resolution,
        "epochs": epochs,
        "train_images": train_images,
        "plan": plan,
        "seed": seed,
        "command": command_line(),
        **asdict(workers),
    }
    if design_space:
        spaces = (design_space[0], design_space[1])
        count = 20 if networks is None else networks
        output = phiscale.compare_spaces(data, out, spaces, networks=count, **common)
    elif preset == "family":
        phi = phi or (-1.0, 0.0, 1.0, 2.0)
        output = phiscale.predict_family(
            data, out, phi=phi, coefficients=coefficients, seeds=seeds, rates=rates, **common
        )
    else:
        output = phiscale.scaling_study(
            data, out, preset=preset, seeds=seeds, rates=rates, **common
        )
    if json:
        return show_json(output.data)
    for line in output.lines:
        print(as_flags(line))
