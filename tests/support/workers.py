"""Tiny plans of real trainings, and crews that carry them out and die: forked from a process that
has everything imported, so that a death and the life after it take a second or two."""

from __future__ import annotations

import math
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from phiscale.arch.scaling import ScaledNetwork, Scaling
from phiscale.arch.spec import Spec, Stage
from phiscale.data.augment.augment import Augment
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import PhiscaleError
from phiscale.search.coefficients.plan import CoefficientSearch, SearchOutcome
from phiscale.search.engine.carry_out import carry_out
from phiscale.search.engine.plan import PlanProgress, Stages
from phiscale.search.engine.result import Result
from phiscale.search.engine.runner import RunnerConfig, train_with_torch
from phiscale.search.engine.store import Store
from phiscale.search.engine.trial import Trial, TrialConditions
from phiscale.search.engine.tuning import Tuning
from phiscale.search.study.arms import Arm
from phiscale.search.study.plan import ScalingStudy
from phiscale.training.ownership import own_process
from phiscale.training.recipes.recipe import Optim, Recipe
from phiscale.training.signals import Interrupted

STEPS = 12
RECIPE = Recipe(
    epochs=STEPS * 64 / 1439,
    batch=64,
    evaluations=1,
    optim=Optim(name="sgd", lr_peak=0.4),
    augment=Augment(frame="shift", shift=0.12),
)
OF_THE_MACHINE = ("seconds", "cpu_seconds", "made_by")
"""Fields of a result that differ from one time to the next."""
OF_A_TRIAL = 10  # updates of who writes

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "phiscale.search.engine.train_trial",
        "phiscale.search.engine.processes",
        "sklearn.datasets",
        "torch._dynamo",
        "torch.utils.tensorboard.writer",
        "psycopg",
        "optuna.storages",
        "sqlalchemy.dialects.sqlite",
        "alembic.runtime.migration",
        "alembic.script",
    ]
)


def net(channels: int = 8, resolution: int = 8) -> Spec:
    stage = Stage(block="fused_mbconv", repeats=1, kernel=3, stride=2, expand=2, channels=channels)
    return Spec(
        stem_channels=8,
        stages=(stage,),
        head_channels=16,
        resolution=resolution,
        classes=10,
        stem_stride=1,
    )


def digits() -> str:
    """Of scikit-learn's digits."""
    from phiscale.data.datasets.open import open_dataset

    return open_dataset("digits").fingerprint()


def settle(fingerprint: str, seeds: int = 2) -> ScalingStudy:
    """Ten trainings: two arms, two rates, two seeds."""
    arms = tuple(
        Arm(
            name=name,
            network=ScaledNetwork(
                spec=net(channels), by=Scaling(width=channels / 8), compute_ratio=1.0
            ),
            epochs=RECIPE.epochs,
        )
        for name, channels in (("base", 8), ("width", 16))
    )
    return ScalingStudy(
        conditions=TrialConditions(
            data="digits",
            fingerprint=fingerprint,
            recipe=RECIPE,
            crop=1.0,
            train_images=None,
        ),
        arms=arms,
        seeds=seeds,
        tuning=Tuning(rates=(0.1, 0.4), lengths=(0.25, 0.5)),
    )


def discovery(fingerprint: str) -> CoefficientSearch:
    """Eighteen trainings: rates of five sizes, a designed experiment with its second round, a grid
    as small as this lattice, a confirmation."""
    return CoefficientSearch(
        conditions=TrialConditions(
            data="digits",
            fingerprint=fingerprint,
            recipe=RECIPE,
            crop=1.0,
        ),
        base=net(),
        methods=("lawscale", "grid"),
        units=5.0,
        compute=2.0,
        native_pixels=8,
        validation_images=180,
        seeds=2,
        tuning=Tuning(rates=(0.1, 0.4), lengths=(0.5,)),
    )


@dataclass(frozen=True, kw_only=True)
class Search:
    """Nine trainings: widths, then neighbours of the best one, which are to say what wins."""

    fingerprint: str
    data: str = "digits"
    widths: tuple[int, ...] = (4, 8, 12, 16, 24)
    recipe: Recipe = field(default=RECIPE)

    @property
    def conditions(self) -> TrialConditions:
        return TrialConditions(
            data=self.data, fingerprint=self.fingerprint, recipe=self.recipe, crop=1.0
        )

    def stages(self) -> Stages[tuple[int, float]]:
        first = {width: self.trial(width, 0) for width in self.widths}
        results = yield list(first.values())
        best = min(first, key=lambda width: (results[first[width].key].error, width))
        second = {
            (width, seed): self.trial(width, seed) for width in (best, best + 2) for seed in (1, 2)
        }
        results = yield list(second.values())
        errors = {which: results[trial.key].error for which, trial in second.items()}
        (width, _), error = min(errors.items(), key=lambda item: (item[1], item[0]))
        return width, error

    def trial(self, width: int, seed: int, **recipe: Any) -> Trial:
        return Trial(
            name=f"width {width}, seed {seed}",
            spec=net(width),
            data=self.fingerprint,
            recipe=replace(self.recipe, seed=seed, **recipe),
            test=True,
            preprocessing=Preprocessing(size=8, crop=1.0),
            attrs={"stage": "first" if seed == 0 else "second", "width": width, "seed": seed},
        )


@dataclass(frozen=True, kw_only=True)
class Several:
    """One stage of trials that any function may train."""

    trials: tuple[Trial, ...]
    data: str = "digits"

    @property
    def conditions(self) -> TrialConditions:
        first = self.trials[0]
        return TrialConditions(
            data=self.data, fingerprint=first.data, recipe=first.recipe, crop=1.0
        )

    def stages(self) -> Stages[str]:
        results = yield self.trials
        whole = {key: r for key, r in results.items() if r.failed is None}
        if not whole:
            raise PhiscaleError("no training came to an end. Use lower rates.")
        return min(whole, key=lambda key: (whole[key].error, key))


def some(count: int, fingerprint: str = "x") -> tuple[Trial, ...]:
    """Trials for a `train` that does not train."""
    return tuple(Search(fingerprint=fingerprint).trial(8, seed) for seed in range(count))


def invented(
    trial: Trial, images: Any = None, run: Path | None = None, runtime: Any = None, **fields: Any
) -> Result:
    """A result that takes no training, the same for the same trial."""
    values = {"validation_error": 1 / (3 + trial.recipe.seed), "validation_loss": 1.0} | fields
    return Result(
        key=trial.key,
        name=trial.name,
        attrs=dict(trial.attrs),
        trial=trial.to_dict(),
        validation_images=10,
        **values,
    )


def watched(trial: Trial, images: Any, run: Path, runtime: Any) -> Result:
    """Trains for real; writes down every start of what was done already."""
    out = run.parent.parent
    line = f"{trial.key} {os.getpid()} {run.name}\n"
    if (out / "results" / f"{trial.key}.json").exists():
        _append(out / "again", line)
    _append(out / "begun", line)
    found = train_with_torch(trial, images, run, runtime)
    _append(out / "ended", line)
    return found


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line)


def runner_in(out: Path, **fields: Any) -> RunnerConfig:
    return RunnerConfig(
        out=out, **({"train": watched, "start": "fork", "heartbeat_timeout_s": 8.0} | fields)
    )


def start(plan: Any, runner: RunnerConfig) -> Any:
    """A command in a process of its own, the leader of a process group."""
    child = CONTEXT.Process(target=_live, args=(plan, runner))
    child.start()
    return child


def _live(plan: Any, runner: RunnerConfig) -> None:
    """What the command line does with an outcome, a mistake or a signal."""
    os.setpgid(0, 0)
    runner.out.mkdir(parents=True, exist_ok=True)
    said = runner.out / f"said-{os.getpid()}"
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    code = 0
    try:
        with own_process():  # as the command line does
            carry_out(plan, runner)
    except Interrupted as stop:
        _append(said, f"{stop.message}\n")
        code = stop.status
    except PhiscaleError as error:
        _append(said, f"phiscale: {error}\n")
        code = 1
    os._exit(code)


def told_nobody(plan: Any, out: Path, limit: int = 0) -> str:
    """What a user whom permissions bind is told, where files may have so many bytes; trials give
    what is invented. Root passes every permission."""
    ours, its = CONTEXT.Pipe(duplex=False)
    child = CONTEXT.Process(target=_as_nobody, args=(plan, out, limit, its))
    child.start()
    its.close()
    return ours.recv()


def _as_nobody(plan: Any, out: Path, limit: int, tell: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:  # imports what nobody may not read
        carry_out(plan, RunnerConfig(out=Path(folder), train=invented))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    try:
        carry_out(plan, RunnerConfig(out=out, train=invented))
        tell.send("done")
    except PhiscaleError as error:
        tell.send(str(error))


def said(runner: RunnerConfig) -> list[str]:
    """By all commands in this folder, oldest first."""
    files = sorted(runner.out.glob("said-*"), key=lambda path: path.stat().st_mtime)
    return [line for path in files for line in path.read_text().splitlines()]


def finish(plan: Any, runner: RunnerConfig, seconds: float = 180) -> None:
    """Runs the command to its end; says why if it has none."""
    child = start(plan, runner)
    child.join(seconds)
    assert child.exitcode == 0, f"exit code {child.exitcode}: {said(runner)[-3:]}"


def end_of(plan: Any, runner: RunnerConfig) -> tuple[Any, dict[str, dict[str, Any]]]:
    """The outcome, and every result without what is of the machine."""
    progress = PlanProgress(plan)
    progress.advance(runner.results.read)
    assert progress.finished, "the plan has not come to its end"
    results = {key: result.to_dict() for key, result in runner.results.all().items()}
    assert results.keys() == {trial.key for trial in progress.completed}
    for result in results.values():
        for name in (*OF_THE_MACHINE, "sha256"):
            del result[name]
    return compared(progress.outcome), results


def compared(outcome: Any) -> Any:
    """What of an outcome can be told to be the same."""
    if isinstance(outcome, SearchOutcome):
        found = [(each.method, each.runs, each.proposal) for each in outcome.searched]
        return outcome.rates, found, outcome.confirmed
    return getattr(outcome, "chosen", outcome)


def in_database(runner: RunnerConfig) -> dict[str, list[str]]:
    """How the entries of every trial that settle it stand there: there should be one of each."""
    states: dict[str, list[str]] = {}
    with closing(runner.store()) as store:
        for entry in store.database.entries():
            if entry.state.name == "COMPLETE" or "failed" in entry.user_attrs:
                states.setdefault(entry.user_attrs["key"], []).append(entry.state.name)
    return states


def ends_alike(plan: Any, runner: RunnerConfig, undisturbed: Any, *, database: bool = True) -> None:
    """Nothing lost, nothing twice, and to the bit what it is when nothing happens."""
    outcome, results = end_of(plan, runner)
    assert outcome == undisturbed[0]
    for key, result in undisturbed[1].items():
        assert results[key] == result
    assert not (runner.out / "again").exists(), (runner.out / "again").read_text()
    if database:
        assert in_database(runner) == {key: ["COMPLETE"] for key in results}


def taken(store: Store, trials: tuple[Trial, ...], results: dict[str, Any] | None = None) -> Any:
    store.enqueue(trials, results or {})
    return store.claim([trial.key for trial in trials])


def write(url: str, count: int) -> None:
    """In a process: takes trials until all are done, and notes something about each many times."""
    trials = some(count)
    results: dict[str, Any] = {}
    store = Store(url, "crowd")
    by_key = {trial.key: trial for trial in trials}
    while True:
        store.enqueue(trials, results)
        results |= {r.key: r for r in store.results(list(by_key))}
        if len(results) == count:
            return
        claim = store.claim([key for key in by_key if key not in results])
        if claim is None:
            time.sleep(0.1)
            continue
        for number in range(OF_A_TRIAL - 1):
            store.claims.note(claim, f"update {number}", os.getpid())
        store.finish(claim, invented(by_key[claim.key]))


def children_of(process: Any) -> list[int]:
    """Of the processes that it has begun and that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it is gone
            rest = stat.read_text().rpartition(")")[2]
            state, parent = rest.split()[:2]
            if int(parent) == process.pid and state != "Z":
                found.append(int(stat.parent.name))
    return sorted(found)


def until(true: Callable[[], Any], seconds: float = 60) -> Any:
    """Waits for it."""
    latest = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < latest, "it never came"
        time.sleep(0.02)
    return found


def mixed(trial: Trial, images: Any, run: Path, runtime: Any) -> Result:
    """By its seed: what may come of a training."""
    match mixed.kinds[trial.recipe.seed]:
        case "diverges":
            absurd = replace(trial.recipe, optim=Optim(lr_peak=1e30))
            found = watched(replace(trial, recipe=absurd), images, run, runtime)
            return replace(found, key=trial.key, trial=trial.to_dict())
        case "raises":
            raise RuntimeError("it had to come")
        case "gives":
            return invented(
                trial,
                validation_error=[math.nan, math.inf, -math.inf, "good", 2.0][
                    trial.recipe.seed % 5
                ],
            )
        case "loss":
            return invented(trial, validation_loss=math.nan)
        case "nothing":
            return invented(trial, validation_error=None)
        case "no result":
            return None  # type: ignore[return-value]
    return watched(trial, images, run, runtime)


mixed.kinds = ("diverges", "raises", *["gives"] * 5, "loss", "nothing", "no result", "whole")


def none_ends(trial: Trial, *_: Any) -> Result:
    raise RuntimeError("it had to come")


def crash(trial: Trial, images: Any, run: Path, runtime: Any) -> Result:
    """One of them takes its worker along."""
    if trial.recipe.seed == 3:
        _append(run.parent.parent / "crashed", "once\n")
        os._exit(139)
    return invented(trial)
