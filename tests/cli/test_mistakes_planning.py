"""Mistakes in commands that plan: one line each, with what to do."""

from pathlib import Path

import pytest

from support.command_line import check_mistake

MISTAKES = (
    # command line, exit code, what the one line says
    ("describe", 2, r"describe needs SPEC"),
    ("describe small extra", 2, r"extra is unexpected"),
    ("describe small -x", 2, r"-x is unexpected"),
    ("solve small --macs 1M --macs 2M", 2, r"--macs is given twice"),
    ("describe nope", 2, r"'nope' is not a model\. `phiscale models` lists"),
    ("describe efficientnet_b00", 2, r"Did you mean efficientnet_b0 or "),
    ("models zzz", 2, r"no model matches 'zzz'\. Quote a pattern"),
    ("models --plot x.txt", 2, r"cannot draw 'x\.txt'\. Let the name end in"),
    ("deviation zzz*", 2, r"no model matches 'zzz\*'\. Quote a pattern"),
    ("deviation zzz", 2, r"'zzz' is not a model"),
    ("deviation nope.json", 1, r"nope\.json does not exist"),
    ("deviation resnet* --phi 1", 2, r"names 5 networks, and --phi scales one\. Name one"),
    ("deviation small --phi 1e9", 2, r"--phi 1000000000\.0 is out of range"),
    ("deviation small --phi 1 100", 2, r"--phi 100 makes depth x8.28e\+07\. Use at most x500"),
    (
        "deviation --timings other.json",
        2,
        r'"phiscale_timings" is None, not 1\. Make it again: phis',
    ),
    ("deviation --measure --timings none/t.json", 2, r"there is no folder none\. Create it first"),
    ("deviation --measure --rounds 0", 2, r"--rounds 0 is out of range"),
    ("deviation --html empty", 2, r"--html empty is a folder"),
    ("deviation --json --markdown", 2, r"--json and --markdown exclude each other"),
    ("models --json --markdown", 2, r"--json, --markdown and --plot exclude each other"),
    ("describe small --phi 1 --depth 2", 2, r"Use --phi or those, not both"),
    ("describe small --coefficients found.json", 2, r"powers of phi\. Add --phi"),
    ("solve small --macs lots", 2, r"--macs lots is not a count\. Use one such as 400M or 1\.8G"),
    ("solve small --macs -5", 2, r"--macs -5 is not a count"),
    ("solve small --macs nan", 2, r"--macs nan is not a count"),
    ("solve small --macs 1e400", 2, r"--macs 1e400 is not a count"),
    ("solve small --macs=", 2, r"--macs '' is not a count"),
    ("solve small --params 0", 2, r"--params 0 is not a count of 1 or more"),
    (
        "solve small --weight-bytes 20XB",
        2,
        r"--weight-bytes 20XB is not a size\. Use one such as 20MB",
    ),
    ("solve small --train-memory=-1GB", 2, r"--train-memory -1GB is not a size"),
    ("solve small --latency-ms nan", 2, r"--latency-ms nan is not a finite number above 0"),
    ("solve small --latency-ms 1e400", 2, r"--latency-ms inf is not a finite number above 0"),
    ("solve small --latency-ms soon", 2, r"--latency-ms soon is not a number"),
    ("solve small --native-pixels 0", 2, r"--native-pixels 0 is out of range\. Use 1 or more"),
    ("solve small --train-images 1.5", 2, r"--train-images 1\.5 is not a whole number"),
    ("describe small --phi nan", 2, r"--phi nan is out of range"),
    ("describe small --phi 100", 2, r"--phi 100 makes depth x8.28e\+07\. Use at most x500"),
    ("describe small --depth 0", 2, r"--depth 0\.0 scales to nothing; use a number above 0"),
    ("describe small --width 1e300", 2, r"--width 1e\+300 makes width"),
    ("describe small --classes 0", 2, r"--classes 0 is out of range"),
    ("describe small --classes many", 2, r"--classes many is not a whole number"),
    ("solve small --macs 1", 1, r"macs <= 1: the smallest network needs .* Raise --macs to "),
    (
        "solve small --latency-ms 5",
        2,
        r"--latency-ms needs a device model\. .*calibrate.* --device-model\.",
    ),
    (
        "solve small --train-minutes 5",
        2,
        r"--train-minutes needs the training speed .*calibrate.* --device-model\.",
    ),
    ("solve small --train-minutes 5 --device-model device.json", 2, r"Add --train-images N"),
    ("describe nope.json", 1, r"nope\.json does not exist"),
    ("describe broken.json", 1, r"broken\.json is not JSON.*--save spec\.json"),
    ("describe other.json", 1, r'other\.json: "phiscale_spec" is 99, not 1'),
    ("describe empty", 1, r"empty is a folder\. Name a file in it"),
    ("describe nope.py:NET", 1, r"nope\.py does not exist"),
    ("describe raises.py:NET", 1, r"raises\.py failed: line 1, ZeroDivisionError"),
    ("describe values.py:X", 1, r"values\.py:X is of type int"),
    ("describe values.py:Y", 1, r"values\.py has no Y"),
    ("solve small --latency-ms 5 --device-model nope.json", 1, r"cannot read nope\.json"),
    ("solve small --latency-ms 5 --device-model broken.json", 1, r"broken\.json is not JSON"),
    (
        "solve small --latency-ms 5 --device-model other.json",
        2,
        r'other\.json: "phiscale_device" is 99, not 1\..*calibrate.*Or update phiscale',
    ),
    ("solve small --law broken.json", 1, r"broken\.json is not JSON"),
    ("solve small --law device.json", 2, r'device\.json: "phiscale_law" is None, not 1'),
    ("solve small --coefficients nope.json", 1, r"cannot read nope\.json"),
    ("solve small --coefficients broken.json", 1, r"broken\.json is not JSON"),
    (
        "solve small --coefficients device.json",
        2,
        r'device\.json: "phiscale_coefficients" is None, not 1\. Write ',
    ),
    ("solve small --coefficients shrinks.json", 2, r"so no network grows with phi\. Use"),
    ("describe small --phi 1 --coefficients shrinks.json", 2, r"shrinks\.json: alpha \* beta"),
    ("solve small --macs 1 --coefficients found.json", 1, r"by these coefficients has macs <= 1"),
    ("check nope", 1, r"'nope' does not exist\. Sets known by name: digits"),
    ("check digitz", 1, r"'digitz' does not exist\. Did you mean digits"),
    ("check empty", 1, r"empty is empty\. Put a folder of (images|pictures) per class"),
    ("check text.txt", 1, r"'text\.txt' is a file\. Give a folder"),
    ("check no-weights", 1, r"has files but no class folders"),
    ("check single", 1, r"single has one class"),
    ("check spoilt", 1, r"1 file of spoilt cannot be read\. Fix or remove"),
    ("describe small --save none/here.json", 2, r"there is no folder none\. Create it first"),
    ("models --plot none/x.svg", 2, r"there is no folder none\. Create it first"),
    ("describe small --save empty", 2, r"--save empty is a folder"),
    ("solve small --save empty", 2, r"--save empty is a folder"),
    ("calibrate --out empty", 2, r"--out empty is a folder"),
)


@pytest.mark.parametrize(("arguments", "code", "says"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_a_mistake_ends_with_one_line_that_names_it_and_says_what_to_do(
    arguments: str,
    code: int,
    says: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(place)
    check_mistake(arguments, code, says, capsys)
