"""Commands that train: train and rates; and runs, which compares trainings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from phiscale.cli.flags import asks_help, call
from phiscale.cli.output import show_json, table
from phiscale.cli.parameters import as_flags
from phiscale.cli.values import (
    Data,
    Device,
    File,
    Number,
    Out,
    Pixels,
    Range,
    Seed,
    Source,
    SpecName,
    Switch,
    check_file,
    command_line,
    lift_pillow_limit,
    spec_of,
)
from phiscale.errors import UsageError
from phiscale.training.ownership import is_first_process


def train(arguments: Sequence[str]) -> None:
    """Train one network by a named recipe; the same command resumes."""
    from phiscale.training.recipes.recipe import Recipe
    from phiscale.training.recipes.table import FEW, MANY, RECIPE_ENTRIES

    word = arguments[0] if arguments and not arguments[0].startswith("-") else None
    if word not in RECIPE_ENTRIES and not asks_help(arguments):
        problem = f"unknown recipe {word!r}." if word else "train needs a recipe: train RECIPE ..."
        raise UsageError(f"{problem} Use one of {', '.join(RECIPE_ENTRIES)}.")
    name = word if word and word in RECIPE_ENTRIES else next(iter(RECIPE_ENTRIES))
    entry = RECIPE_ENTRIES[name]
    defaults = entry.recipe
    if "--as-published" in [word.replace("_", "-") for word in arguments]:
        defaults = entry.published or defaults  # without one `train` refuses the flag

    def train(
        *,
        model: SpecName,
        data: Data,
        out: Annotated[Path, arg(metavar="RUN")],
        recipe: Annotated[Recipe, arg(name="")] = defaults,
        resolution: Pixels = None,
        pretrained: Source = None,
        as_published: Switch = False,
        device: Device = "auto",
        on_bad: Literal["stop", "skip"] = "stop",
        max_megapixels: Number = None,
        range: Range = None,
        accept_changed_data: Switch = False,
        keep: Annotated[int, arg(metavar="N")] = 2,
        workers: Annotated[int, arg(metavar="N")] = 2,
        deterministic: Switch = False,
        timeout: Annotated[float, arg(metavar="SECONDS")] = 60.0,
        track: UseAppendAction[tuple[Literal["mlflow", "wandb"], ...]] = (),
    ) -> None:
        from phiscale.cli.progress import training_progress
        from phiscale.pipeline.train import train as train_network

        lift_pillow_limit(max_megapixels)
        spec, first = spec_of(model), is_first_process()
        with training_progress(quiet=not first) as callbacks:
            run = train_network(
                spec,
                data,
                out,
                recipe,
                variant_of=name,
                as_published=as_published,
                pretrained=pretrained,
                resolution=resolution,
                on_bad=on_bad,
                max_megapixels=max_megapixels,
                value_range=range,
                accept_changed_data=accept_changed_data,
                device=device,
                deterministic=deterministic,
                workers=workers,
                keep=keep,
                timeout_s=timeout,
                callbacks=callbacks,
                track=track,
            )
        if first:
            print(run.weights)

    train.__doc__ = f"""Train one network by a named recipe; the same command resumes.

        Recipes: {", ".join(RECIPE_ENTRIES)}.
        From pretrained weights: probe; finetune-few for under {FEW} images of a class, finetune,
        finetune-many from {MANY}. The defaults below are those of {name}: {entry.source}.
        Result: {entry.expected}.
        On several machines: torchrun --nproc-per-node N -m phiscale train ...

        Args:
            model: A model's name, a spec.json, or file.py:NAME.
            data: Image folder, CSV table, named set (digits, cifar10, ...), or tar shards.
            out: Folder of the run, new or of an earlier start of the same run.
            resolution: Pixels of a side; by default the network's.
            pretrained: SOURCE of weights: file, RUN, hf-hub:NAME, torchvision:NAME, model.tag.
            as_published: Use the recipe as its source prints it, with its flaws.
            device: Compute device; auto uses a GPU where there is one.
            on_bad: Stop with the list of unreadable images, or skip and record them.
            max_megapixels: Size above which an image counts as unreadable; by default 64.
            range: Values of black and white in grey images of more than 8 bits; by default those
                that the training images use.
            accept_changed_data: Resume although images were added, removed or edited.
            keep: Number of checkpoints to keep, the newest ones.
            workers: Threads that read and augment images; results do not depend on it.
            deterministic: Compute the same bits every time on a GPU, somewhat slower.
            timeout: Heartbeat timeout of a process in seconds.
            track: Log to mlflow or wandb too; TensorBoard is always written.
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
    """Compare trainings: progress, accuracy, speed; curves on a page.

    Args:
        folders: Runs, finished or not, or folders that hold some.
        html: Write a page with their curves to this file.
        json: Print JSON.
    """
    from phiscale.report.runs import read_runs, rows_of, write_page

    if not folders:
        raise UsageError("runs needs a folder: runs DIR...")
    if html:
        check_file("--html", html)
    summaries = read_runs(folders)
    if html:
        write_page(html, summaries)
    if json:
        show_json(rows_of(summaries))
    else:
        table(rows_of(summaries))


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
    resolution: Pixels = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Check whether one learning rate serves all scalings of a network.

    Trains each scaling at learning rates a factor of 2 apart and shows the best. The same command
    resumes.

    Args:
        recipe: Name of a recipe, as for train.
        model: A model's name, a spec.json, or file.py:NAME.
        data: Image folder, CSV table, named set (digits, cifar10, ...), or tar shards.
        out: Folder for the trainings and the report.
        depths: Factors of the number of blocks; the others are compared with the first.
        widths: Factors of the number of channels.
        steps: Factors of 2 to try on each side of the recipe's learning rate.
        epochs: Epochs of each training; by default the recipe's.
        resolution: Pixels of a side; by default the network's.
        seed: Seed of all trainings.
        device: Compute device; auto uses a GPU where there is one.
    """
    from phiscale import compare_rates
    from phiscale.cli.progress import training_progress

    with training_progress() as callbacks:
        comparison = compare_rates(
            spec_of(model),
            data,
            out,
            recipe,
            depths=depths,
            widths=widths,
            steps=steps,
            epochs=epochs,
            resolution=resolution,
            seed=seed,
            device=device,
            callbacks=callbacks,
            command=command_line(),
        )
    print(as_flags(str(comparison)))
