"""Small plans of real trainings, and commands that carry them out in processes that tests kill.

The processes are forked from one that has imported everything, so that a start takes a second.
"""

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
from phiscale.search.engine.entries import is_done
from phiscale.search.engine.plan import PlanProgress, Stages
from phiscale.search.engine.result import Result
from phiscale.search.engine.run_plan import run_plan
from phiscale.search.engine.runner import RunnerConfig, train_with_torch
from phiscale.search.engine.store import Store
from phiscale.search.engine.trial import Trial, TrialConditions
from phiscale.search.study.arms import Arm
from phiscale.search.study.plan import Outcome as StudyOutcome
from phiscale.search.study.plan import ScalingStudy
from phiscale.search.tuning import Tuning
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
MACHINE_FIELDS = ("seconds", "cpu_seconds", "made_by")
"""Fields of a result that differ when a training is repeated."""
UPDATES_PER_TRIAL = 10  # writes of a process to each trial that it claims

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


def small_network(channels: int = 8, resolution: int = 8) -> Spec:
    stage = Stage(block="fused_mbconv", repeats=1, kernel=3, stride=2, expand=2, channels=channels)
    return Spec(
        stem_channels=8,
        stages=(stage,),
        head_channels=16,
        resolution=resolution,
        classes=10,
        stem_stride=1,
    )


def digits_fingerprint() -> str:
    """Return the fingerprint of scikit-learn's digits."""
    from phiscale.data.datasets.open import open_dataset

    return open_dataset("digits").fingerprint()


def small_study(fingerprint: str, seeds: int = 2) -> ScalingStudy:
    """A scaling study of ten trainings: two arms, two rates, two seeds."""
    arms = tuple(
        Arm(
            name=name,
            network=ScaledNetwork(
                spec=small_network(channels), by=Scaling(width=channels / 8), compute_ratio=1.0
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


def small_search(fingerprint: str) -> CoefficientSearch:
    """A search for coefficients of eighteen trainings: rates of five sizes, a designed experiment
    with its second round, a grid as small as this lattice, a confirmation."""
    return CoefficientSearch(
        conditions=TrialConditions(
            data="digits",
            fingerprint=fingerprint,
            recipe=RECIPE,
            crop=1.0,
        ),
        base=small_network(),
        methods=("lawscale", "grid"),
        units=5.0,
        compute=2.0,
        native_pixels=8,
        validation_images=180,
        seeds=2,
        tuning=Tuning(rates=(0.1, 0.4), lengths=(0.5,)),
    )


@dataclass(frozen=True, kw_only=True)
class WidthSearch:
    """A plan of nine trainings: five widths, then two seeds of the best width and its neighbour."""

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
            spec=small_network(width),
            data=self.fingerprint,
            recipe=replace(self.recipe, seed=seed, **recipe),
            test=True,
            preprocessing=Preprocessing(size=8, crop=1.0),
            attrs={"stage": "first" if seed == 0 else "second", "width": width, "seed": seed},
        )


@dataclass(frozen=True, kw_only=True)
class OneStage:
    """A plan of one stage."""

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


def make_trials(count: int, fingerprint: str = "x") -> tuple[Trial, ...]:
    """Return trials that differ in their seed."""
    return tuple(WidthSearch(fingerprint=fingerprint).trial(8, seed) for seed in range(count))


def formula_result(
    trial: Trial, images: Any = None, run: Path | None = None, runtime: Any = None, **fields: Any
) -> Result:
    """Return a result from a formula of the trial's seed instead of a training."""
    values: dict[str, Any] = {
        "validation_error": 1 / (3 + trial.recipe.seed),
        "validation_loss": 1.0,
    } | fields
    return Result(
        key=trial.key,
        name=trial.name,
        attrs=dict(trial.attrs),
        trial=trial.to_dict(),
        validation_images=10,
        **values,
    )


def train_and_log(trial: Trial, images: Any, run: Path, runtime: Any) -> Result:
    """Train with torch, and log starts and ends. A start of a trial that has a result already is
    logged as repeated."""
    out = run.parent.parent
    line = f"{trial.key} {os.getpid()} {run.name}\n"
    if (out / "results" / f"{trial.key}.json").exists():
        _append(out / "repeated", line)
    _append(out / "started", line)
    result = train_with_torch(trial, images, run, runtime)
    _append(out / "finished", line)
    return result


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line)


def runner_in(out: Path, **fields: Any) -> RunnerConfig:
    return RunnerConfig(
        out=out, **({"train": train_and_log, "start": "fork", "heartbeat_timeout_s": 8.0} | fields)
    )


def start_command(plan: Any, runner: RunnerConfig) -> Any:
    """Start a command in a process of its own, the leader of a process group."""
    child = CONTEXT.Process(target=_run_command, args=(plan, runner))
    child.start()
    return child


def _run_command(plan: Any, runner: RunnerConfig) -> None:
    """Do what the command line does at an outcome, an error or a signal."""
    os.setpgid(0, 0)
    runner.out.mkdir(parents=True, exist_ok=True)
    log = runner.out / f"messages-{os.getpid()}"
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    code = 0
    try:
        with own_process():  # as the command line does
            run_plan(plan, runner)
    except Interrupted as stop:
        _append(log, f"{stop.message}\n")
        code = stop.status
    except PhiscaleError as error:
        _append(log, f"phiscale: {error}\n")
        code = 1
    os._exit(code)


def run_as_nobody(plan: Any, out: Path, limit: int = 0) -> str:
    """Carry out a plan as the user nobody, and return the message, or "done".

    Root could write everywhere. `limit`: most bytes of a file. Results come from a formula.
    """
    ours, its = CONTEXT.Pipe(duplex=False)
    child = CONTEXT.Process(target=_as_nobody, args=(plan, out, limit, its))
    child.start()
    its.close()
    return ours.recv()


def _as_nobody(plan: Any, out: Path, limit: int, pipe: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:  # imports modules that nobody may not read
        run_plan(plan, RunnerConfig(out=Path(folder), train=formula_result))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    try:
        run_plan(plan, RunnerConfig(out=out, train=formula_result))
        pipe.send("done")
    except PhiscaleError as error:
        pipe.send(str(error))


def messages(runner: RunnerConfig) -> list[str]:
    """Return the messages of all commands in this folder, oldest first."""
    files = sorted(runner.out.glob("messages-*"), key=lambda path: path.stat().st_mtime)
    return [line for path in files for line in path.read_text().splitlines()]


def run_to_end(plan: Any, runner: RunnerConfig, seconds: float = 180) -> None:
    """Run the command to its end, which must be a success."""
    child = start_command(plan, runner)
    child.join(seconds)
    assert child.exitcode == 0, f"exit code {child.exitcode}: {messages(runner)[-3:]}"


def outcome_and_results(plan: Any, runner: RunnerConfig) -> tuple[Any, dict[str, dict[str, Any]]]:
    """Return the outcome, and all results without the fields that depend on the machine."""
    progress = PlanProgress(plan)
    progress.advance(runner.results.read)
    assert progress.finished, "the plan has not come to its end"
    results = {key: result.to_dict() for key, result in runner.results.all().items()}
    assert results.keys() == {trial.key for trial in progress.completed}
    for result in results.values():
        for name in (*MACHINE_FIELDS, "sha256"):
            del result[name]
    return comparable(progress.outcome), results


def comparable(outcome: Any) -> Any:
    """Return the part of an outcome that does not depend on the machine."""
    if isinstance(outcome, SearchOutcome):
        methods = [(each.method, each.runs, each.proposal) for each in outcome.searched]
        return outcome.rates, methods, outcome.confirmed
    return outcome.recipes if isinstance(outcome, StudyOutcome) else outcome


def done_states(runner: RunnerConfig) -> dict[str, list[str]]:
    """Return, by key, the states of the entries that hold a result: there should be one."""
    states: dict[str, list[str]] = {}
    with closing(runner.store()) as store:
        for entry in store.database.entries():
            if is_done(entry):
                states.setdefault(entry.user_attrs["key"], []).append(entry.state.name)
    return states


def assert_same_outcome(
    plan: Any, runner: RunnerConfig, undisturbed: Any, *, database: bool = True
) -> None:
    """Check that no result is lost or repeated, and that all are bit for bit those of a run that
    nothing disturbed."""
    outcome, results = outcome_and_results(plan, runner)
    assert outcome == undisturbed[0]
    for key, result in undisturbed[1].items():
        assert results[key] == result
    assert not (runner.out / "repeated").exists(), (runner.out / "repeated").read_text()
    if database:
        assert done_states(runner) == {key: ["COMPLETE"] for key in results}


def enqueue_and_claim(
    store: Store, trials: tuple[Trial, ...], results: dict[str, Any] | None = None
) -> Any:
    store.enqueue(trials, results or {})
    return store.claim([trial.key for trial in trials])


def claim_and_write(url: str, count: int) -> None:
    """In a process: claim trials until all are done, and note a value on each many times."""
    trials = make_trials(count)
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
        for number in range(UPDATES_PER_TRIAL - 1):
            store.claims.set_attr(claim, f"update {number}", os.getpid())
        store.mark_done(claim, formula_result(by_key[claim.key]))


def live_children(process: Any) -> list[int]:
    """Return the numbers of running processes that a process has started."""
    numbers = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            rest = stat.read_text().rpartition(")")[2]
            state, parent = rest.split()[:2]
            if int(parent) == process.pid and state != "Z":
                numbers.append(int(stat.parent.name))
    return sorted(numbers)


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until the condition holds, and return its value."""
    latest = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < latest, "the condition never held"
        time.sleep(0.02)
    return value


TRAINING_ENDS = (
    "diverges",
    "raises",
    *["gives"] * 5,
    "loss",
    "nothing",
    "no result",
    "whole",
)
"""How the trial of each seed ends in `train_or_fail`."""


def train_or_fail(trial: Trial, images: Any, run: Path, runtime: Any) -> Result:
    """Train, or fail in the way that the trial's seed stands for."""
    match TRAINING_ENDS[trial.recipe.seed]:
        case "diverges":
            too_high = replace(trial.recipe, optim=Optim(lr_peak=1e30))
            result = train_and_log(replace(trial, recipe=too_high), images, run, runtime)
            return replace(result, key=trial.key, trial=trial.to_dict())
        case "raises":
            raise RuntimeError("this training always fails")
        case "gives":
            return formula_result(
                trial,
                validation_error=[math.nan, math.inf, -math.inf, "good", 2.0][
                    trial.recipe.seed % 5
                ],
            )
        case "loss":
            return formula_result(trial, validation_loss=math.nan)
        case "nothing":
            return formula_result(trial, validation_error=None)
        case "no result":
            return None  # type: ignore[return-value]
    return train_and_log(trial, images, run, runtime)


def always_fail(trial: Trial, *_: Any) -> Result:
    raise RuntimeError("this training always fails")


def crash_worker(trial: Trial, images: Any, run: Path, runtime: Any) -> Result:
    """End the worker's process at one of the trials."""
    if trial.recipe.seed == 3:
        _append(run.parent.parent / "crashed", "one worker\n")
        os._exit(139)
    return formula_result(trial)
