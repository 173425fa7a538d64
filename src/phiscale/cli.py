"""The command line: one short function per verb. Everything heavy is imported inside the verbs.

tyro reads the flags off the functions' annotations, so these are values here, not strings.
"""

import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

from phiscale.data.wording import shown
from phiscale.errors import PhiscaleError, SpecError, UsageError
from phiscale.flags import asks_help, call, near
from phiscale.show import show_json, table
from phiscale.train.signals import Interrupted

if TYPE_CHECKING:
    from phiscale.budget import Budget
    from phiscale.scaling import Scaling
    from phiscale.spec import Spec

# What a value is called in the help; `None` is nothing to tell there.
Count = Annotated[str | None, arg(metavar="COUNT", help_behavior_hint="")]
Size = Annotated[str | None, arg(metavar="BYTES", help_behavior_hint="")]
Number = Annotated[float | None, arg(metavar="NUMBER", help_behavior_hint="")]
Whole = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
File = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
Folder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")]
Member = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")]
Held = Annotated[str | None, arg(metavar="DATA", help_behavior_hint="")]
Times = Annotated[float, arg(metavar="FACTOR")]
SpecName = Annotated[str, arg(metavar="SPEC")]
Data = Annotated[str, arg(metavar="DATA")]
Run = Annotated[Path, arg(metavar="RUN")]
Model = Annotated[Path, arg(metavar="MODEL")]
Out = Annotated[Path, arg(metavar="DIR")]
Source = Annotated[Path | None, arg(metavar="SOURCE", help_behavior_hint="")]
Sources = Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="SOURCE", help_behavior_hint="")]
Images = Annotated[tuple[Path, ...], arg(metavar="IMAGES", help_behavior_hint="")]
Seed = Annotated[int, arg(metavar="N")]
Device = Literal["auto", "cpu", "cuda", "mps"]
Switch = FlagCreatePairsOff[bool]

_OUT_OF_MEMORY = "out of memory. Use a smaller network, a smaller batch or fewer pixels."
MOST_BLOCKS, MOST_TIMES = 5_000, 1_000  # what `describe` still scales to


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the network may cost. Counts such as 400M or 1.8G, sizes such as 20MB or 20MiB."""

    macs: Count = None
    """Multiply-adds for one picture, at most."""
    params: Count = None
    """Parameters, at most."""
    latency_ms: Number = None
    """Milliseconds for one picture on the device, exported, at most."""
    weight_bytes: Size = None
    """Size of the weights in float32, at most."""
    train_memory: Size = None
    """Memory of a training batch in float32, at most."""
    train_minutes: Number = None
    """Minutes of training, at most."""

    def budget(self) -> "Budget":
        from phiscale.budget import Budget, parse_bytes, parse_count

        return Budget(
            macs=_parsed("--macs", parse_count, self.macs),
            params=_parsed("--params", parse_count, self.params),
            latency_ms=self.latency_ms,
            weight_bytes=_parsed("--weight-bytes", parse_bytes, self.weight_bytes),
            train_memory_bytes=_parsed("--train-memory", parse_bytes, self.train_memory),
            train_minutes=self.train_minutes,
        )


Limited = Annotated[Limits, arg(name="")]


def models(
    pattern: Positional[Annotated[str, arg(metavar="PATTERN")]] = "*", /, *,
    json: Switch = False, markdown: Switch = False, plot: File = None,
) -> None:  # fmt: skip
    """List the networks: size, cost, published accuracy, where each is meant to live.

    Args:
        pattern: part of the names, such as "*lite*".
        json: print JSON, with the paper's headline ratios.
        markdown: print the README's table.
        plot: draw accuracy against size beside the paper's rivals (.png, .svg).
    """
    from phiscale.analysis.models import markdown_table, ratios, rows
    from phiscale.analysis.models import plot as draw

    if json + markdown + (plot is not None) > 1:
        raise UsageError("--json, --markdown and --plot exclude each other. Give one of them.")
    if plot and pattern != "*":
        raise UsageError(f"--plot draws the paper's figures, not {pattern!r}. Leave the one out.")
    found = rows(pattern)
    if plot:
        _not_a_folder("--plot", plot)
        draw(plot)
        print(f"wrote {plot}")
    elif json:
        show_json({"models": found, "ratios": ratios()})
    elif markdown:
        print(markdown_table(pattern))
    else:
        table(found)


def describe(
    spec: Positional[SpecName], /, *, phi: Number = None, depth: Times = 1.0, width: Times = 1.0,
    resolution: Times = 1.0, classes: Whole = None, json: Switch = False, save: File = None,
) -> None:  # fmt: skip
    """Show one network layer by layer, scaled if asked.

    Args:
        spec: a member's name, a spec.json, or file.py:NAME.
        phi: scale depth, width and resolution together by 1.2^phi, 1.1^phi, 1.15^phi.
        depth: scale the number of blocks by this factor.
        width: scale the number of channels by this factor.
        resolution: scale the pixels a side by this factor.
        classes: of the classifier; the member's own if left out.
        json: print JSON.
        save: write the spec.json of what is shown.
    """
    from phiscale.analysis.describe import described, lines
    from phiscale.files import write_atomic
    from phiscale.scaling import scale

    base = _spec(spec)
    by = _scaling(base, phi, depth, width, resolution)
    _in_range("--classes", classes)
    if classes is not None:
        base = replace(base, classes=classes)
    network = scale(base, by)
    if save:
        _not_a_folder("--save", save)
        write_atomic(save, network.to_json() + "\n")
    if json:
        show_json(described(base, by))
    else:
        print("\n".join(lines(base, by)))


def solve(
    spec: Positional[SpecName], /, *, limits: Limited = Limits(),
    device_model: File = None, law: File = None, train_images: Whole = None,
    native_pixels: Whole = None, json: Switch = False, save: File = None,
) -> None:  # fmt: skip
    """Find the best scalings of a network within limits.

    Args:
        spec: a member's name, a spec.json, or file.py:NAME.
        device_model: device.json of `phiscale calibrate`, for --latency-ms and --train-minutes.
        law: another error law (JSON) instead of the published one.
        train_images: training pictures of an epoch, for --train-minutes.
        native_pixels: shorter side of the pictures: more pixels are not tried.
        json: print JSON.
        save: write the best network's spec.json.
    """
    from phiscale.budget import explain
    from phiscale.budget import solve as search
    from phiscale.device import DeviceModel
    from phiscale.files import write_atomic
    from phiscale.laws import Law

    if limits.train_minutes is not None and device_model and train_images is None:
        raise UsageError("--train-minutes needs the number of pictures. Give --train-images N.")
    _in_range("--train-images", train_images)
    _in_range("--native-pixels", native_pixels)
    if save:
        _not_a_folder("--save", save)
    found = search(
        _spec(spec), limits.budget(), name=spec,
        device=DeviceModel.read(device_model) if device_model else None,
        law=Law.read(law) if law else None,
        train_images=train_images, native_pixels=native_pixels,
    )  # fmt: skip
    if save:
        write_atomic(save, found.best.spec.to_json() + "\n")
    rows = [c.to_dict() for c in found.pareto]
    if json:
        show_json({"best": {**found.best.to_dict(), "spec": found.best.spec.to_dict()},
                   "pareto": rows, "pareto_total": found.pareto_total, "why": explain(found),
                   "considered": found.considered, "fitting": found.fitting})  # fmt: skip
    else:
        table(rows)
        print(explain(found))


def calibrate(*, out: Annotated[Path, arg(metavar="FILE")], device: Device = "auto") -> None:
    """Measure this machine, in under a minute, so that `solve` and `fit` can plan for it.

    Args:
        out: the device.json to write.
        device: where torch trains; auto takes a GPU where there is one.
    """
    from phiscale.deploy.calibrate import calibrate as measure
    from phiscale.jobs import compute_device

    _not_a_folder("--out", out)
    found = measure(lambda line: print(line, file=sys.stderr), compute_device(device))
    found.write(out)
    for name, (median, largest) in found.errors.items():
        print(f"{name}: median error {100 * median:.0f} %, largest {100 * largest:.0f} %")
    print(f"wrote {out}")


def check(data: Positional[Data], /, *, json: Switch = False) -> None:
    """Audit an image set: every bad file, balance, sizes, duplicates, leaks between splits.

    Args:
        data: image folder, named set (digits, cifar10, ...), or tar shards.
        json: print JSON.
    """
    from phiscale.data.audit import audit
    from phiscale.data.sources import open_images
    from phiscale.data.wording import counted
    from phiscale.errors import DataError

    found = audit(open_images(data))
    if json:
        show_json(found.to_dict())
    else:
        print("\n".join(found.lines()))
    if found.bad:
        raise DataError(
            f"{counted(len(found.bad), 'file')} of {shown(data)} cannot be read. Mend or remove "
            "them, or train without them: --on-bad skip."
        )


def train(arguments: Sequence[str]) -> None:
    """Train one network by a named recipe; run again, it resumes."""
    from phiscale.train.recipe import Recipe
    from phiscale.train.recipes import RECIPES

    word = arguments[0] if arguments and not arguments[0].startswith("-") else None
    if word not in RECIPES and not asks_help(arguments):
        what = f"{word!r} is no recipe." if word else "train needs a recipe: train RECIPE ..."
        raise UsageError(f"{what} Use one of {', '.join(RECIPES)}.")
    name = word if word in RECIPES else next(iter(RECIPES))

    def train(
        *, model: SpecName, data: Data, out: Annotated[Path, arg(metavar="RUN")],
        recipe: Annotated[Recipe, arg(name="")] = RECIPES[name],
        resolution: Whole = None, pretrained: Source = None,
        device: Device = "auto",
        on_bad: Literal["stop", "skip"] = "stop",
    ) -> None:  # fmt: skip
        from phiscale.jobs import train_run
        from phiscale.show import training_progress

        _in_range("--resolution", resolution)
        spec = _spec(model)
        with training_progress() as (report, tell):
            best = train_run(spec, data, out, recipe, resolution=resolution,
                             start_from=pretrained, device=device, on_bad=on_bad,
                             report=report, tell=tell)  # fmt: skip
        print(best)

    train.__doc__ = f"""Train one network by a named recipe; run again, it resumes.

        Recipes: {", ".join(RECIPES)}. The defaults below are those of {name}.

        Args:
            model: a member's name, a spec.json, or file.py:NAME.
            data: image folder, named set (digits, cifar10, ...), or tar shards.
            out: folder of the run, new or of an earlier start of the same.
            resolution: pixels a side, other than the network's own.
            pretrained: weights file or RUN of phiscale to start from.
            device: where to compute; auto takes a GPU where there is one.
            on_bad: stop with the list of unreadable pictures, or skip and record them.
        """
    prog = f"phiscale train {word if word in RECIPES else 'RECIPE'}"
    call(train, arguments[1:] if word else arguments, prog)


def evaluate(
    model: Positional[Model], data: Positional[Data], /, *,
    split: Literal["test", "validation", "train"] = "test",
    per_image: File = None, json: Switch = False,
) -> None:  # fmt: skip
    """Measure a model on a split: top-1 and top-5 with interval, per class, calibration.

    Args:
        model: RUN, weights file, or model.onnx.
        data: image folder, named set (digits, cifar10, ...), or tar shards.
        split: which one.
        per_image: write every picture's answer to this CSV file.
        json: print JSON.
    """
    from phiscale.files import write_atomic
    from phiscale.jobs import evaluate_model, metrics_lines, per_image_csv

    if per_image:
        _not_a_folder("--per-image", per_image)
    metrics, logits, part, classes = evaluate_model(model, data, split)
    if per_image:
        write_atomic(per_image, per_image_csv(part, logits, classes))
    if json:
        show_json(metrics.to_dict())
    else:
        print("\n".join(metrics_lines(metrics)))


def predict(
    model: Positional[Model],
    images: Positional[Images], /, *,
    format: Literal["table", "csv", "json"] = "table", top: Annotated[int, arg(metavar="N")] = 1,
) -> None:  # fmt: skip
    """Class and probability of each image.

    Args:
        model: RUN, weights file, or model.onnx.
        images: picture files, or folders of them.
        format: of the answer.
        top: how many classes for each picture.
    """
    from phiscale.data.wording import counted
    from phiscale.errors import DataError
    from phiscale.jobs import predict_files
    from phiscale.show import print_predictions

    _in_range("--top", top)
    if not images:
        raise UsageError("predict needs IMAGES. See phiscale predict --help.")
    bad, count = print_predictions(predict_files(model, images), format, top)
    if bad:
        raise DataError(f"{bad} of {counted(count, 'picture')} cannot be read. "
                        "The answer says why; mend or leave them out.")  # fmt: skip


def export(run: Positional[Run], /, *, out: Folder = None, data: Held = None) -> None:
    """Write model.onnx and model.json of a RUN, after comparing their answers with the network's.

    Args:
        run: folder of a training, or a weights file.
        out: folder to write into; the run's own if left out.
        data: compare on this set's validation pictures instead of on random ones.
    """
    from phiscale.jobs import export_run

    folder, said = export_run(run, out, data)
    away = said["parity"]["relative_difference"]
    print(f"wrote {folder / 'model.onnx'}: {said['bytes'] / 1e6:.2f} MB, "
          f"{said['latency_ms']:.3g} ms, relative difference {away:.1g}")  # fmt: skip


def fit(
    data: Positional[Data], /, *, out: Out, limits: Limited = Limits(),
    base: Member = None,
    pretrained: Sources = (),
    from_scratch: bool = True, device_model: File = None, law: File = None,
    on_bad: Literal["stop", "skip"] = "stop", min_epochs: Number = None, device: Device = "auto",
    seed: Seed = 0,
) -> None:  # fmt: skip
    """From images and a budget to a deployable model: choose, train, evaluate, export, report.

    Run again with the same flags, it goes on where it was stopped.

    Args:
        data: image folder, named set (digits, cifar10, ...), or tar shards.
        out: folder for the model, its report and the run.
        base: member whose scalings compete; chosen by the pictures' size if left out.
        pretrained: weights file or RUN of phiscale that competes too; may be given several times.
        from_scratch: whether scalings of the base compete.
        device_model: device.json of `phiscale calibrate` on the target; else this machine's.
        law: another error law (JSON).
        on_bad: stop with the list of unreadable pictures, or skip and record them.
        min_epochs: fewest epochs worth training; 4, or 2 for pretrained networks, if left out.
        device: where to train; auto takes a GPU where there is one.
        seed: of the whole run.
    """
    if not from_scratch and not pretrained:
        raise UsageError("--no-from-scratch leaves no network to choose. Add --pretrained FILE.")
    if min_epochs is not None and not 0 < min_epochs < float("inf"):
        raise UsageError(f"--min-epochs {min_epochs:g} trains nothing. Use a number above 0.")
    _in_range("--seed", seed, least=0)
    if base is not None:
        _spec(base)
    budget = limits.budget()

    from phiscale.pipeline import Request
    from phiscale.pipeline import fit as run
    from phiscale.show import training_progress

    request = Request(
        data=data, budget=budget, base=base, pretrained=tuple(str(p) for p in pretrained),
        from_scratch=from_scratch, law=str(law) if law else None,
        device_model=str(device_model) if device_model else None, on_bad=on_bad,
        min_epochs=min_epochs, device=device, seed=seed,
    )  # fmt: skip
    with training_progress() as (report, tell):
        path = run(request, out, tell=tell, report=report, command=_command())
    print(path)


VERBS: dict[str, Callable[..., None]] = {
    "models": models, "describe": describe, "solve": solve, "calibrate": calibrate, "check": check,
    "train": train, "evaluate": evaluate, "predict": predict, "export": export, "fit": fit,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Mistakes end with one line: exit 2 for the command line, 1 for the rest."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _write_any_name()
    try:
        _run(arguments)
        sys.stdout.flush()
    except PhiscaleError as error:
        _fail(str(error), 2 if isinstance(error, UsageError) else 1)
    except Interrupted as stop:
        _fail(stop.message, stop.status)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except MemoryError:
        _fail(_OUT_OF_MEMORY, 1)
    except RuntimeError as error:  # torch's own
        if "out of memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        _fail(_OUT_OF_MEMORY, 1)
    except OSError as error:
        what = f"{error.filename or 'output'}: {error.strerror or error}"
        _fail(f"{what}. Check it and the free space.", 1)


def _run(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return
    if arguments[0] == "--version":
        from phiscale import __version__

        print(f"phiscale {__version__}")
        return
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        what = "a flag, no verb" if verb.startswith("-") else "no verb"
        raise UsageError(f"{verb!r} is {what}.{near(verb, VERBS)} They are {', '.join(VERBS)}.")
    if verb == "train":
        train(rest)
    else:
        call(VERBS[verb], rest, f"phiscale {verb}")


def _help() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(
        f"  {name:<{width}}  {(function.__doc__ or '').splitlines()[0]}"
        for name, function in VERBS.items()
    )
    return (
        "phiscale: from images, a device and a budget to the best ConvNet that fits.\n\n"
        f"usage: phiscale VERB ... (phiscale VERB --help)\n\n{verbs}\n"
    )


def _spec(text: str) -> "Spec":
    from phiscale.families import resolve_spec

    try:
        return resolve_spec(text)
    except SpecError as error:
        if re.fullmatch(r"[\w-]*", text) and not Path(text).exists():  # a name, not a file
            raise UsageError(str(error)) from None
        raise


def _scaling(
    base: "Spec", phi: float | None, depth: float, width: float, resolution: float
) -> "Scaling":
    from phiscale.scaling import Scaling, compound

    single = {"depth": depth, "width": width, "resolution": resolution}
    if phi is not None and set(single.values()) != {1.0}:
        raise UsageError("--phi sets depth, width and resolution. Give --phi or those, not both.")
    try:
        by = Scaling(**single) if phi is None else compound(phi)
    except SpecError as error:
        raise UsageError(f"--{error}") from None
    most = {"depth": MOST_BLOCKS / base.blocks, "width": MOST_TIMES, "resolution": MOST_TIMES}
    for name, limit in most.items():
        if (value := getattr(by, name)) > limit:
            flag = f"--{name} {value:g}" if phi is None else f"--phi {phi:g}"
            raise UsageError(f"{flag} makes {name} x{value:.3g}. Use at most x{limit:.3g}.")
    return by


def _parsed(flag: str, parse: Callable[[str], int], text: str | None) -> int | None:
    try:
        return None if text is None else parse(text)
    except UsageError as error:
        raise UsageError(f"{flag}: {error}") from None


def _in_range(flag: str, value: int | None, least: int = 1) -> None:
    if value is not None and not least <= value < 2**63:
        raise UsageError(f"{flag} {value} is out of range. Use {least} or more.")


def _not_a_folder(flag: str, path: Path) -> None:
    """Told before the work, not after it."""
    if path.is_dir():
        raise UsageError(f"{flag} {path} is a folder. Name a file in it.")


def _command() -> str:
    return shlex.join(["phiscale", *sys.argv[1:]])


def _write_any_name() -> None:
    """Names that the terminal's encoding lacks are escaped, not fatal; nor is a closed output."""
    if sys.stdout is None:  # `>&-`
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (to the end)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fail(message: str, code: int) -> None:
    """Nothing in a name can forge a line."""
    text = "\n".join(shown(line) for line in message.split("\n"))
    print(f"phiscale: {text}", file=sys.stderr)
    raise SystemExit(code)
