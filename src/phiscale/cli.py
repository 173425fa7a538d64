"""The command line: one short function per verb. Everything heavy is imported inside the verbs."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from phiscale.errors import PhiscaleError, UsageError
from phiscale.show import show_json, table

if TYPE_CHECKING:
    from phiscale.budget import Budget
    from phiscale.scaling import Scaling
    from phiscale.spec import Spec

Count = Annotated[str | None, arg(metavar="COUNT")]
Size = Annotated[str | None, arg(metavar="BYTES")]
Number = Annotated[float | None, arg(metavar="F")]
File = Annotated[Path | None, arg(metavar="FILE")]
SpecName = Annotated[str, arg(metavar="SPEC")]
Data = Annotated[str, arg(metavar="DATA")]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the network may cost: counts as 400M or 1.8G, sizes as 20MB or 20MiB."""

    macs: Count = None  # multiply-adds for one image
    params: Count = None
    latency_ms: Number = None  # of one image, exported, on the device
    weight_bytes: Size = None  # of the fp32 weights
    train_memory: Size = None  # fp32, of a training batch
    train_minutes: Number = None

    def budget(self) -> Budget:
        from phiscale.budget import Budget, parse_bytes, parse_count

        return Budget(
            macs=parse_count(self.macs) if self.macs else None,
            params=parse_count(self.params) if self.params else None,
            latency_ms=self.latency_ms,
            weight_bytes=parse_bytes(self.weight_bytes) if self.weight_bytes else None,
            train_memory_bytes=parse_bytes(self.train_memory) if self.train_memory else None,
            train_minutes=self.train_minutes,
        )


def models(
    pattern: Positional[str] = "*",
    /,
    *,
    json: bool = False,
    markdown: bool = False,
    plot: File = None,
) -> None:
    """List the networks: size, cost, published accuracy, where each is meant to live.

    Args:
        pattern: such as "*lite*".
        json: as JSON, with the paper's headline ratios.
        markdown: as the README's table.
        plot: draw accuracy against size beside the paper's rivals (.png, .svg).
    """
    from phiscale.analysis.models import markdown_table, ratios, rows
    from phiscale.analysis.models import plot as draw

    found = rows(pattern)
    if not found:
        raise UsageError(f"no network is called like {pattern!r}. `phiscale models` lists all.")
    if plot:
        draw(plot)
        print(f"wrote {plot}")
    elif json:
        show_json({"models": found, "ratios": ratios()})
    elif markdown:
        print(markdown_table(pattern))
    else:
        table(found)


def describe(
    spec: Positional[SpecName], /, *, phi: Number = None, depth: float = 1.0, width: float = 1.0,
    resolution: float = 1.0, classes: int | None = None, json: bool = False, save: File = None,
) -> None:  # fmt: skip
    """Show one network layer by layer, scaled if asked.

    Args:
        spec: a member's name, a spec.json, or file.py:NAME.
        phi: scale depth, width and resolution together by 1.2^phi, 1.1^phi, 1.15^phi.
        depth: scale the number of blocks.
        width: scale the number of channels.
        resolution: scale the pixels a side.
        classes: of the classifier.
        json: as JSON.
        save: write the spec.json of what is shown.
    """
    from phiscale.analysis.describe import described, lines
    from phiscale.files import write_atomic
    from phiscale.scaling import scale

    base, by = _spec(spec), _scaling(phi, depth, width, resolution)
    if classes is not None:
        base = replace(base, classes=classes)
    network = scale(base, by)
    if save:
        write_atomic(save, network.to_json() + "\n")
    if json:
        show_json(described(base, by))
    else:
        print("\n".join(lines(base, by)))


def solve(
    spec: Positional[SpecName], /, *, limits: OmitArgPrefixes[Limits] = Limits(),
    device_model: File = None, law: File = None, train_images: int | None = None,
    native_pixels: int | None = None, json: bool = False, save: File = None,
) -> None:  # fmt: skip
    """Find the best scalings of a network within limits.

    Args:
        spec: a member's name, a spec.json, or file.py:NAME.
        device_model: device.json of `phiscale calibrate`, for --latency-ms and --train-minutes.
        law: another error law (JSON) instead of the published one.
        train_images: number of training images, for --train-minutes.
        native_pixels: of the images: more is not tried.
        json: as JSON.
        save: write the best network's spec.json.
    """
    from phiscale.budget import explain
    from phiscale.budget import solve as search
    from phiscale.device import DeviceModel
    from phiscale.files import write_atomic
    from phiscale.laws import Law

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


def calibrate(*, out: Path) -> None:
    """Measure this machine, in under a minute, so that `solve` and `fit` can plan for it.

    Args:
        out: the device.json to write.
    """
    from phiscale.deploy.calibrate import calibrate as measure

    found = measure(print)
    found.write(out)
    for name, (median, largest) in found.errors.items():
        print(f"{name}: median error {100 * median:.0f} %, largest {100 * largest:.0f} %")
    print(f"wrote {out}")


def check(data: Positional[Data], /, *, json: bool = False) -> None:
    """Audit an image set: every bad file, balance, sizes, duplicates, leaks between splits.

    Args:
        data: image folder, named set (digits, cifar10, ...), or tar shards.
        json: as JSON.
    """
    from phiscale.data.audit import audit
    from phiscale.data.sources import open_images

    found = audit(open_images(data))
    if json:
        show_json(found.to_dict())
    else:
        print("\n".join(found.lines()))
    if found.bad:
        raise SystemExit(1)


def evaluate(
    model: Positional[Path], data: Positional[Data], /, *, split: Literal["test", "validation", "train"] = "test",
    per_image: File = None, json: bool = False,
) -> None:  # fmt: skip
    """Measure a RUN, a weights file or a model.onnx on a split: top-1 and top-5, per class, calibration.

    Args:
        model: run folder, .safetensors, or model.onnx.
        data: image folder, named set, or tar shards.
        split: which one.
        per_image: write every picture's answer to this CSV file.
        json: as JSON.
    """
    from phiscale.files import write_atomic
    from phiscale.jobs import evaluate_model, metrics_lines, per_image_csv

    metrics, logits, part, classes = evaluate_model(model, data, split)
    if per_image:
        write_atomic(per_image, per_image_csv(part, logits, classes))
    if json:
        show_json(metrics.to_dict())
    else:
        print("\n".join(metrics_lines(metrics)))


def predict(
    model: Positional[Path], images: Positional[tuple[Path, ...]], /, *,
    format: Literal["table", "csv", "json"] = "table", top: int = 1,
) -> None:  # fmt: skip
    """Class and probability of each image, from a RUN or a model.onnx.

    Args:
        model: run folder, fit's folder, or model.onnx.
        images: files, or folders of them.
        format: of the answer.
        top: how many classes for each image.
    """
    from phiscale.jobs import predict_files
    from phiscale.show import print_predictions

    bad = print_predictions(predict_files(model, images), format, top)
    if bad:
        raise SystemExit(1)


def export(
    run: Positional[Path],
    /,
    *,
    out: File = None,
    data: Annotated[str | None, arg(metavar="DATA")] = None,
) -> None:
    """Write model.onnx and model.json of a RUN, after comparing their answers with the network's.

    Args:
        run: run folder or .safetensors.
        out: folder; the run's own if left out.
        data: compare on this set's validation pictures instead of on random ones.
    """
    from phiscale.data.sources import open_images
    from phiscale.deploy.export import export_onnx
    from phiscale.weights.store import load

    network = load(run)
    folder = out or (run if run.is_dir() else run.parent)
    said = export_onnx(
        network, network.card, open_images(data).validation if data else None, folder
    )
    print(f"wrote {folder / 'model.onnx'}: {said['bytes'] / 1e6:.2f} MB, {said['latency_ms']:.3g} ms, "
          f"relative difference {said['parity']['relative_difference']:.1g}")  # fmt: skip


def fit(
    data: Positional[Data], /, *, out: Path, limits: OmitArgPrefixes[Limits] = Limits(),
    base: Annotated[str | None, arg(metavar="SPEC")] = None, pretrained: tuple[Path, ...] = (),
    from_scratch: bool | None = None, device_model: File = None, law: File = None,
    on_bad: Literal["stop", "skip"] = "stop", min_epochs: Number = None, seed: int = 0,
) -> None:  # fmt: skip
    """From images and a budget to a deployable model: choose, train, evaluate, export, report.

    Run again with the same flags, it goes on where it was stopped.

    Args:
        data: image folder, named set (digits, cifar10, ...), or tar shards.
        out: folder for the model, its report and the run.
        base: member whose scalings compete; chosen by the pictures' size if left out.
        pretrained: weights files or run folders of phiscale that compete too.
        from_scratch: whether scalings of the base compete (default: yes).
        device_model: device.json of `phiscale calibrate` on the target; else this machine is measured.
        law: another error law (JSON).
        on_bad: stop with the list of unreadable pictures, or skip and record them.
        min_epochs: fewest epochs worth training (default 4; 2 for pretrained networks).
        seed: of the whole run.
    """
    from phiscale.pipeline import Request
    from phiscale.pipeline import fit as run
    from phiscale.show import training_progress

    if from_scratch is False and not pretrained:
        raise UsageError("--no-from-scratch leaves no network to choose. Add --pretrained FILE.")
    request = Request(
        data=data, budget=limits.budget(), base=base, pretrained=tuple(str(p) for p in pretrained),
        from_scratch=from_scratch is not False, law=str(law) if law else None,
        device_model=str(device_model) if device_model else None, on_bad=on_bad,
        min_epochs=min_epochs, seed=seed,
    )  # fmt: skip
    with training_progress() as (report, tell):
        path = run(request, out, tell=tell, report=report, command=_command())
    print(path)


def train(arguments: Sequence[str]) -> None:
    """Train one network by a named recipe; run again, it resumes."""
    from phiscale.train.recipe import Recipe
    from phiscale.train.recipes import RECIPES

    name = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    if name not in RECIPES and not {"-h", "--help"} & set(arguments):
        what = f"{name!r} is no recipe" if name else "which recipe? Put its name first"
        raise UsageError(f"{what}. Use one of {', '.join(RECIPES)}.")

    def train(
        *, model: SpecName, data: Data, out: Path,
        recipe: OmitArgPrefixes[Recipe] = RECIPES.get(name, Recipe()),
        resolution: int | None = None, start_from: File = None,
        device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
        on_bad: Literal["stop", "skip"] = "stop",
    ) -> None:  # fmt: skip
        """Train one network by a named recipe; run again with the same flags, it resumes.

        Args:
            model: a member's name, a spec.json, or file.py:NAME.
            data: image folder, named set, or tar shards.
            out: run folder.
            resolution: pixels, other than the network's own.
            start_from: weights of phiscale to start with.
            device: where to compute.
            on_bad: stop with the list of unreadable pictures, or skip them.
        """
        from phiscale.jobs import train_run
        from phiscale.show import training_progress

        with training_progress() as (report, tell):
            best = train_run(_spec(model), data, out, recipe, resolution=resolution,
                             start_from=start_from, device=device, on_bad=on_bad,
                             report=report, tell=tell)  # fmt: skip
        print(best)

    rest = arguments[1:] if name in RECIPES else arguments
    _parsed(train, rest, f"phiscale train {name or '{' + ','.join(RECIPES) + '}'}")


VERBS: dict[str, Callable[..., None]] = {
    "models": models, "describe": describe, "solve": solve, "calibrate": calibrate, "check": check,
    "train": train, "evaluate": evaluate, "predict": predict, "export": export, "fit": fit,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Mistakes end with one line: exit 2 for the command line, 1 for the rest."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # threads that spin at barriers lose most of their speed as soon as another program wants a core
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        _run(arguments)
        sys.stdout.flush()
    except PhiscaleError as error:
        _fail(str(error), 2 if isinstance(error, UsageError) else 1)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def _run(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return
    if arguments[0] == "--version":
        from phiscale import __version__

        print(f"phiscale {__version__}")
        return
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        from difflib import get_close_matches

        near = get_close_matches(verb, VERBS, n=1)
        raise UsageError(f"{verb!r} is no verb. " + (f"Did you mean {near[0]}? " if near else "")
                         + f"They are {', '.join(VERBS)}.")  # fmt: skip
    if verb == "train":
        train(rest)
    else:
        _parsed(VERBS[verb], rest, f"phiscale {verb}")


def _parsed(function: Callable[..., None], arguments: Sequence[str], prog: str) -> None:
    """tyro reads the flags; its box of complaints becomes one line."""
    called: list[Callable[[], None]] = []
    said = io.StringIO()

    import functools

    @functools.wraps(function)
    def later(*args: Any, **kwargs: Any) -> None:
        called.append(functools.partial(function, *args, **kwargs))

    try:
        with contextlib.redirect_stderr(said):
            tyro.cli(later, args=list(arguments), prog=prog)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        lines = (re.sub(r"[│╭╮╰╯─]+", " ", line).strip() for line in said.getvalue().splitlines())
        words = " ".join(line for line in lines if line and not line.startswith("For full help"))
        words = re.sub(rf" *{re.escape(prog)} --help *", " ", words).strip()
        raise UsageError(f"{words}. See {prog} --help.") from None
    called[0]()


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


def _spec(text: str) -> Spec:
    from phiscale.families import resolve_spec

    return resolve_spec(text)


def _scaling(phi: float | None, depth: float, width: float, resolution: float) -> Scaling:
    from phiscale.scaling import Scaling, compound

    if phi is None:
        return Scaling(depth=depth, width=width, resolution=resolution)
    if (depth, width, resolution) != (1.0, 1.0, 1.0):
        raise UsageError("--phi sets depth, width and resolution. Give --phi or those, not both.")
    return compound(phi)


def _command() -> str:
    return shlex.join(["phiscale", *sys.argv[1:]])


def _fail(message: str, code: int) -> None:
    print(f"phiscale: {message}", file=sys.stderr)
    raise SystemExit(code)
