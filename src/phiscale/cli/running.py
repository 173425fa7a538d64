"""Verbs that run: train, rates, evaluate, predict, export, and fit, which does it all."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from phiscale.cli.flags import asks_help, call
from phiscale.cli.output import show_json, table
from phiscale.cli.values import (
    UNLIMITED,
    Data,
    Device,
    File,
    Folder,
    Held,
    Images,
    Limited,
    Member,
    Model,
    Number,
    Out,
    Run,
    Seed,
    Source,
    Sources,
    SpecName,
    Switch,
    Whole,
    a_file,
    command_line,
    first_process,
    in_range,
    spec_of,
)
from phiscale.errors import UsageError


def train(arguments: Sequence[str]) -> None:
    """Train one network by a named recipe; run again, it resumes."""
    from phiscale.training.recipes.recipe import Recipe
    from phiscale.training.recipes.table import FEW, MANY, RECIPE_ENTRIES

    word = arguments[0] if arguments and not arguments[0].startswith("-") else None
    if word not in RECIPE_ENTRIES and not asks_help(arguments):
        what = f"{word!r} is no recipe." if word else "train needs a recipe: train RECIPE ..."
        raise UsageError(f"{what} Use one of {', '.join(RECIPE_ENTRIES)}.")
    name = word if word and word in RECIPE_ENTRIES else next(iter(RECIPE_ENTRIES))
    named = RECIPE_ENTRIES[name]
    if as_it_was := "--as-published" in [word.replace("_", "-") for word in arguments]:
        if named.published is None:
            raise UsageError(f"{name} is not a published recipe. Leave --as-published out.")
        named = replace(named, recipe=named.published)

    def train(
        *,
        model: SpecName,
        data: Data,
        out: Annotated[Path, arg(metavar="RUN")],
        recipe: Annotated[Recipe, arg(name="")] = named.recipe,
        resolution: Whole = None,
        pretrained: Source = None,
        as_published: Switch = False,
        device: Device = "auto",
        on_bad: Literal["stop", "skip"] = "stop",
        accept_changed_data: Switch = False,
        keep: Annotated[int, arg(metavar="N")] = 2,
        workers: Annotated[int, arg(metavar="N")] = 2,
        deterministic: Switch = False,
        timeout: Annotated[float, arg(metavar="SECONDS")] = 60.0,
        track: UseAppendAction[tuple[Literal["mlflow", "wandb"], ...]] = (),
    ) -> None:
        from phiscale.cli.output import training_progress
        from phiscale.training.run import TrainRequest, train_run
        from phiscale.training.runtime import Runtime
        from phiscale.training.trackers import TRACKERS

        for flag, value in (
            ("--resolution", resolution),
            ("--keep", keep),
            ("--workers", workers),
            ("--timeout", timeout),
        ):
            in_range(flag, value)
        spec = spec_of(model)
        trackers = tuple(TRACKERS[name]() for name in track) if first_process() else ()
        with training_progress(quiet=not first_process()) as callbacks:
            runtime = Runtime(
                workers=workers,
                keep=keep,
                timeout_s=timeout,
                callbacks=callbacks,
                trackers=trackers,
                deterministic=deterministic,
                accept_changed_data=accept_changed_data,
            )
            request = TrainRequest(
                spec=spec,
                data=data,
                recipe=recipe,
                entry=named,
                resolution=resolution,
                pretrained=pretrained,
                on_bad=on_bad,
                published=as_it_was,
            )
            best = train_run(request, out, runtime, device=device)
        if first_process():
            print(best)

    train.__doc__ = f"""Train one network by a named recipe; run again, it resumes.

        Recipes: {", ".join(RECIPE_ENTRIES)}.
        From pretrained weights: probe; finetune-few for under {FEW} pictures of a class, finetune,
        finetune-many from {MANY}. The defaults below are those of {name}: {named.source}.
        Result: {named.expected}.
        On several machines: torchrun --nproc-per-node N -m phiscale train ...

        Args:
            model: a member's name, a spec.json, or file.py:NAME.
            data: image folder, named set (digits, cifar10, ...), or tar shards.
            out: folder of the run, new or of an earlier start of the same.
            resolution: pixels a side, other than the network's own.
            pretrained: SOURCE of weights: file, RUN, hf-hub:NAME, torchvision:NAME, member.tag.
            as_published: the recipe as its source prints it, flaws and all.
            device: where to compute; auto takes a GPU where there is one.
            on_bad: stop with the list of unreadable pictures, or skip and record them.
            accept_changed_data: resume although pictures were added, removed or edited.
            keep: checkpoints, the newest ones.
            workers: threads that read and change pictures; results do not depend on it.
            deterministic: on a GPU the same bits every time, somewhat slower.
            timeout: until a process that shows no sign of life is taken for dead.
            track: also log to mlflow or wandb; TensorBoard always.
        """
    prog = f"phiscale train {word if word in RECIPE_ENTRIES else 'RECIPE'}"
    call(train, arguments[1:] if word else arguments, prog)


def runs(
    folders: Positional[Annotated[tuple[Path, ...], arg(metavar="DIR")]],
    /,
    *,
    html: File = None,
    json: Switch = False,
) -> None:
    """Compare trainings: how far, how good, how fast; curves on a page.

    Args:
        folders: runs, finished or not, or folders that hold some.
        html: write a page with their curves to this file.
        json: print JSON.
    """
    from phiscale.report.runs import read_runs, rows_of, write_page

    if not folders:
        raise UsageError("runs needs a folder: runs DIR...")
    if html:
        a_file("--html", html)
    found = read_runs(folders)
    if html:
        write_page(html, found)
    if json:
        show_json(rows_of(found))
    else:
        table(rows_of(found))


def rates(
    recipe: Positional[Annotated[str, arg(metavar="RECIPE")]],
    /,
    *,
    model: SpecName,
    data: Data,
    out: Out,
    depths: Annotated[tuple[float, ...], arg(metavar="X")] = (1.0, 3.0),
    widths: Annotated[tuple[float, ...], arg(metavar="X")] = (1.0, 2.0),
    steps: Annotated[int, arg(metavar="N")] = 2,
    epochs: Number = None,
    resolution: Whole = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Check that a recipe's learning rate serves the scalings of a network.

    Trains each at rates a factor 2 apart and says where the best lies. Run again, it goes on.

    Args:
        recipe: its name, as for train.
        model: a member's name, a spec.json, or file.py:NAME.
        data: image folder, named set (digits, cifar10, ...), or tar shards.
        out: folder for the trainings and the report.
        depths: factors of the number of blocks; the first is what the others are compared with.
        widths: factors of the number of channels.
        steps: factors of 2 to try on each side of the recipe's rate.
        epochs: of each training; the recipe's own if left out.
        resolution: pixels a side, other than the network's own.
        seed: of all trainings.
        device: where to compute; auto takes a GPU where there is one.
    """
    from phiscale.cli.output import training_progress
    from phiscale.search.rates import compare_rates, report
    from phiscale.training.devices import compute_device
    from phiscale.training.parallel.lanes import lanes_for
    from phiscale.training.recipes.table import RECIPE_ENTRIES
    from phiscale.training.runtime import Runtime

    if recipe not in RECIPE_ENTRIES:
        raise UsageError(f"{recipe!r} is no recipe. Use one of {', '.join(RECIPE_ENTRIES)}.")
    in_range("--seed", seed, least=0)
    in_range("--resolution", resolution)
    for flag, factors in (("--depths", depths), ("--widths", widths)):
        if not factors or not all(0 < factor <= 100 for factor in factors):
            raise UsageError(f"{flag} needs factors above 0, such as {flag} 1 3.")
    named, spec = RECIPE_ENTRIES[recipe], spec_of(model)
    how = replace(named.recipe, seed=seed, evaluations=1)
    if epochs is not None:
        how = replace(how, epochs=epochs)
    how = replace(how, lanes=lanes_for(how.batch, compute_device(device)))
    with training_progress() as callbacks:
        nets = compare_rates(
            spec,
            data,
            out,
            how,
            Runtime(callbacks=callbacks),
            named=named,
            depths=depths,
            widths=widths,
            steps=steps,
            resolution=resolution,
            device=device,
            command=command_line(),
        )
    print("\n".join(report(nets, command_line())))


def evaluate(
    model: Positional[Model],
    data: Positional[Data],
    /,
    *,
    split: Literal["test", "validation", "train"] = "test",
    per_image: File = None,
    json: Switch = False,
    device: Device = "auto",
) -> None:
    """Measure a model on a split: top-1 and top-5 with interval, per class, calibration.

    Args:
        model: model.onnx, RUN, weights file, hf-hub:NAME, torchvision:NAME, or member.tag.
        data: image folder, named set (digits, cifar10, ...), or tar shards.
        split: which one.
        per_image: write every picture's answer to this CSV file.
        json: print JSON.
        device: where to compute; auto takes a GPU where there is one. A model.onnx runs on the CPU.
    """
    from phiscale.cli.output import metrics_lines
    from phiscale.deploy.inference import evaluate_model, per_image_csv
    from phiscale.files import write_atomic

    if per_image:
        a_file("--per-image", per_image)
    metrics, logits, part, classes = evaluate_model(model, data, split, device)
    if per_image:
        write_atomic(per_image, per_image_csv(part, logits, classes))
    if json:
        show_json(metrics.to_dict())
    else:
        print("\n".join(metrics_lines(metrics)))


def predict(
    model: Positional[Model],
    images: Positional[Images],
    /,
    *,
    format: Literal["table", "csv", "json"] = "table",
    top: Annotated[int, arg(metavar="N")] = 1,
    device: Device = "auto",
) -> None:
    """Class and probability of each image.

    Args:
        model: model.onnx, RUN, weights file, hf-hub:NAME, torchvision:NAME, or member.tag.
        images: picture files, or folders of them.
        format: of the answer.
        top: how many classes for each picture.
        device: where to compute; auto takes a GPU where there is one. A model.onnx runs on the CPU.
    """
    from phiscale.cli.output import print_predictions
    from phiscale.deploy.inference import predict_files
    from phiscale.errors import DataError
    from phiscale.text import count_of

    in_range("--top", top)
    if not images:
        raise UsageError("predict needs IMAGES. See phiscale predict --help.")
    bad, count = print_predictions(predict_files(model, images, device), format, top)
    if bad:
        raise DataError(
            f"{bad} of {count_of(count, 'picture')} cannot be read. "
            "The answer says why; mend or leave them out."
        )


def export(run: Positional[Run], /, *, out: Folder = None, data: Held = None) -> None:
    """Write model.onnx and model.json of a RUN, after comparing their answers with the network's.

    Args:
        run: folder of a training, or a weights file.
        out: folder to write into; the run's own if left out.
        data: compare on this set's validation pictures instead of on random ones.
    """
    from phiscale.deploy.export import export_run

    folder, said = export_run(run, out, data)
    away = said["parity"]["relative_difference"]
    print(
        f"wrote {folder / 'model.onnx'}: {said['file']['bytes'] / 1e6:.2f} MB, "
        f"{said['latency_ms']:.3g} ms, relative difference {away:.1g}"
    )


def fit(
    data: Positional[Data],
    /,
    *,
    out: Out,
    limits: Limited = UNLIMITED,
    base: Member = None,
    pretrained: Sources = (),
    from_scratch: bool = True,
    device_model: File = None,
    law: File = None,
    coefficients: File = None,
    on_bad: Literal["stop", "skip"] = "stop",
    min_epochs: Number = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """From images and a budget to a deployable model: choose, train, evaluate, export, report.

    Run again with the same flags, it goes on where it was stopped.

    Args:
        data: image folder, named set (digits, cifar10, ...), or tar shards.
        out: folder for the model, its report and the run.
        base: member whose scalings compete; chosen by the pictures' size if left out.
        pretrained: SOURCE of weights that competes too: file, folder of files, RUN, hf-hub:NAME,
            torchvision:NAME, member's name, or auto: the known ones; may be given several times.
        from_scratch: whether scalings of the base compete.
        device_model: device.json of `phiscale calibrate` on the target; else this machine's.
        law: another error law (JSON).
        coefficients: found.json: of the scalings only those by its alpha^phi, beta^phi, gamma^phi
            compete; its law predicts where no other is given and it is over this network.
        on_bad: stop with the list of unreadable pictures, or skip and record them.
        min_epochs: fewest epochs worth training; 4, or 2 for pretrained networks, if left out.
        device: where to train; auto takes a GPU where there is one.
        seed: of the whole run.
    """
    from phiscale.pipeline.request import Request

    in_range("--seed", seed, least=0)
    if base is not None:
        spec_of(base)
    request = Request(
        data=data,
        budget=limits.budget(),
        base=base,
        pretrained=pretrained,
        from_scratch=from_scratch,
        law=str(law) if law else None,
        coefficients=str(coefficients) if coefficients else None,
        device_model=str(device_model) if device_model else None,
        on_bad=on_bad,
        min_epochs=min_epochs,
        device=device,
        seed=seed,
    )
    request.check()

    from phiscale.cli.output import training_progress
    from phiscale.pipeline.run import FitRuntime, run_fit

    with training_progress() as callbacks:
        run = run_fit(request, out, FitRuntime(callbacks=callbacks, command=command_line()))
    print(run.report)
