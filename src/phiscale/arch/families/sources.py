"""Specs in files of users: JSON, or a name in a Python file."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from phiscale.arch.spec import FORMAT, Spec
from phiscale.errors import PhiscaleError, SpecError


def spec_from_json_file(path: Path) -> Spec:
    """Returns the spec of a file that `to_json` or `describe --save` wrote."""
    if path.is_dir():
        raise SpecError(f"{path} is a folder. Name a file in it: {path / 'spec.json'}.")
    if not path.exists():
        raise SpecError(f"{path} does not exist. {FORMAT.fix}")
    try:
        return FORMAT.read(path)
    except PhiscaleError as error:
        raise SpecError(str(error)) from None


def spec_from_python_file(path: Path, name: str) -> Spec:
    """Runs the file and returns the Spec called `name`, or what a function of this name returns."""
    if not path.is_file():
        raise SpecError(f"{path} does not exist. Write it path/to/file.py:NAME.")
    with _importable(path.parent):
        module = _run(path)
        if not name or not hasattr(module, name):
            have = ", ".join(key for key, value in vars(module).items() if isinstance(value, Spec))
            wrong = f"{path} has no {name}" if name else f"{path} names no spec"
            raise SpecError(f"{wrong}. Write {path}:NAME; its specs are: {have or 'none'}.")
        value = getattr(module, name)
        if isinstance(value, Spec):
            return value
        if not callable(value):
            kind = type(value).__name__
            raise SpecError(f"{path}:{name} is of type {kind}. Make it a Spec, or return one.")
        try:
            spec = value()
        except Exception as error:
            reason = _last_line(error, module.__file__)
            raise SpecError(f"{path}:{name} failed: {reason}. Fix it.") from error
    if not isinstance(spec, Spec):
        raise SpecError(f"{path}:{name} returned a {type(spec).__name__}. Let it return a Spec.")
    return spec


def _run(path: Path) -> ModuleType:
    name = f"phiscale_spec_{path.stem}"  # not a name that an installed package may have
    source = importlib.util.spec_from_file_location(name, path)
    assert source is not None and source.loader is not None  # .py files always have one
    module = importlib.util.module_from_spec(source)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        source.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        reason = _last_line(error, source.origin)
        raise SpecError(f"{path} failed: {reason}. Fix the file.") from error
    return module


@contextmanager
def _importable(folder: Path) -> Generator[None, None, None]:
    """Lets a file import its neighbours, and leaves no `__pycache__` in the user's folder.

    A neighbour never hides an installed package.
    """
    wrote, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = wrote


def _last_line(error: BaseException, file: str | None) -> str:
    """Returns the last line that Python would print, and the line of the file that led to it."""
    number = error.lineno if isinstance(error, SyntaxError) and error.filename == file else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            number = trace.tb_lineno
        trace = trace.tb_next
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    first = f"{type(error).__name__}: {message}".splitlines()[0].rstrip(". ")
    return first if number is None else f"line {number}, {first}"
