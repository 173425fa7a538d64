"""`law fit` and `law predict` as people meet them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.cli import main
from phiscale.errors import UsageError
from phiscale.files import write_checked
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.laws import Law
from phiscale.planning.laws.file import FittedLaw
from support.command_line import check_mistake, ended

HELD = "law fit efficientnet --hold-out efficientnet_b6,efficientnet_b7"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ran(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    main(shlex.split(line))
    return capsys.readouterr().out


def in_json(line: str, capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(ran(f"{line} --json", capsys))


def bent_table(path: Path) -> None:
    """Errors that fall ever faster with compute, as no law does."""
    x = [1.25**i for i in range(16)]
    rows = (f"{c:.4f},{0.4 - 0.02 * i**2 / 16 + 0.0003 * (-1) ** i:.5f}" for i, c in enumerate(x))
    path.write_text("macs,error\n" + "\n".join(rows))


def test_rows_held_out_stand_beside_what_was_predicted(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ran(HELD, capsys)
    b7 = next(line for line in out.splitlines() if line.startswith("efficientnet_b7"))
    assert "held out" in b7 and " 15.7 " in b7
    assert "error % = " in out and "Error in points on 6 left-out rows" in out
    rows = in_json(HELD, capsys)["rows"]
    held = [row for row in rows if row["held_out"]]
    assert [row["network"] for row in held] == ["efficientnet_b6", "efficientnet_b7"]
    for row in held:
        assert row["low"] < row["error"] < row["high"] and abs(row["law"] - row["error"]) < 0.0015


def test_a_law_of_dimensions_gives_coefficients_and_says_what_equal_ones_would_cost(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "law fit efficientnet-joint --compute 4.67"
    assert re.search(r"At 4\.67x .*alpha 1\.2\d \[.*not excluded", ran(line, capsys), re.DOTALL)
    found = in_json(line, capsys)["coefficients"]
    assert found["alpha"]["value"] == pytest.approx(1.22, abs=0.02)
    assert found["symmetric_null"]["excluded"] is False


def test_the_broken_row_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "efficientnet_b5 is 1.0" in ran("law fit pycls-efficientnet", capsys)


def test_a_law_predicts_what_a_network_gives_and_gains(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(f"{HELD} --out law.json", capsys)
    (b0, b4) = in_json("law predict law.json efficientnet_b0 efficientnet_b4", capsys)
    assert b4["low"] < 0.171 < b4["high"] and b4["macs_over_base"] == pytest.approx(11.39, abs=0.01)
    assert b4["gain_low"] < 0.058 < b4["gain_high"]
    assert b0["gain"] == 0
    by_phi = in_json("law predict law.json --phi 0 1 2", capsys)
    errors = [row["error"] for row in by_phi]
    assert errors == sorted(errors, reverse=True) and errors[0] == b0["error"]
    table = ran("law predict law.json efficientnet_b4", capsys)
    assert "95 % of runs" in table and "gain" in table


def test_another_family_is_predicted_with_a_remark(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(f"{HELD} --out law.json", capsys)
    main(["law", "predict", "law.json", "resnet50"])
    assert "resnet50 is of another family" in capsys.readouterr().err


def test_one_file_serves_predict_and_solve(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran("law fit efficientnet-joint --out law.json", capsys)
    assert Law.read(place / "law.json").depth.A > 0
    out = ran("solve efficientnet_b0 --macs 600M --law law.json", capsys)
    assert "predicted top-1 error" in out
    assert in_json("law predict law.json efficientnet_b4", capsys)[0]["error"] < 0.18


def test_a_law_file_says_the_same_after_a_round_trip(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("efficientnet", "efficientnet-joint", "pycls-efficientnet"):
        ran(f"law fit {name} --out law.json", capsys)
        law = FittedLaw.read(place / "law.json")
        assert FittedLaw.from_dict(law.to_dict()).to_dict() == law.to_dict()
        plain = json.loads(json.dumps(law.to_dict()))
        assert json.loads((place / "law.json").read_text()) == plain


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("efficientnet --hold-out efficientnet_b7", "law.svg"),
        ("efficientnet-lite", "law.png"),
        ("efficientnet-joint --hold-out efficientnet_b7", "law.png"),
    ],
)
def test_it_draws_the_law(
    name: str, file: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(f"law fit {name} --plot {file}", capsys)
    drawn = (place / file).read_bytes()
    assert drawn.startswith(b"<?xml" if file.endswith("svg") else b"\x89PNG") and len(drawn) > 5000


def test_a_table_of_ones_own_with_lengths_of_training(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        (f"net{i}", macs, seen, 0.1 + 0.1 * macs**-0.5 + 0.05 * seen**-0.5)
        for i, (macs, seen) in enumerate((m, s) for m in (1, 2, 4) for s in (0.5, 1, 4))
    ]
    text = "".join(f"{n},{m}e6,{s}e6,{100 * e:.3f}%\n" for n, m, s, e in rows)
    Path("mine.csv").write_text("name,macs,images_seen,error\n" + text)
    found = in_json("law fit mine.csv --base small --run-sd 0.05% --out law.json", capsys)
    assert found["law"]["fit"]["axes"] == ["macs", "images"]
    needs = "law predict law.json small"
    with pytest.raises(SystemExit):
        main(needs.split())
    assert "Give --images-seen" in capsys.readouterr().err
    short, long = (in_json(f"{needs} --images-seen {n}", capsys)[0] for n in ("500K", "4M"))
    assert short["error"] > long["error"]


def test_finished_runs_are_rows(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from phiscale.data.datasets.open import open_dataset
    from phiscale.data.preprocessing import Preprocessing
    from phiscale.training.loop import train
    from phiscale.training.recipes.table import RECIPES
    from phiscale.training.runtime import Runtime

    base = replace(scale(get_spec("small"), Scaling(depth=0.5, width=0.5)), resolution=8)
    recipe = replace(RECIPES["characters"], epochs=0.3, evaluations=2)
    train(
        place / "runs" / "base",
        base,
        open_dataset("digits"),
        recipe,
        Preprocessing(size=8, crop=1.0),
        Runtime(),
    )
    arms = {
        "depth": Scaling(depth=4),
        "width": Scaling(width=2),
        "pixels": Scaling(resolution=2),
        "all": Scaling(depth=3, width=1.5, resolution=1.5),
    }
    for number, (name, by) in enumerate(arms.items()):
        shutil.copytree(place / "runs" / "base", place / "runs" / name)
        write_checked(place / "runs" / name / "spec.json", scale(base, by).to_dict())
        log = place / "runs" / name / "log.jsonl"
        better = f'"validation_top1": 0.9{number}'
        log.write_text(re.sub(r'"validation_top1": [\d.]+', better, log.read_text()))
    found = in_json("law fit runs/base runs/depth runs/width runs/pixels runs/all", capsys)
    assert found["law"]["fit"]["axes"] == ["depth", "width", "resolution"]
    assert found["law"]["source"] == "5 runs, best validation error"
    assert [row["error"] for row in found["rows"]][1:] == pytest.approx([0.1, 0.09, 0.08, 0.07])
    assert len(in_json("law fit runs", capsys)["rows"]) == 5  # the folder of them
    for name in ("base", *arms):
        write_checked(place / "runs" / name / "evaluation.json", {"metrics": {"top1": 0.8}})
    assert in_json("law fit runs", capsys)["law"]["source"] == "5 runs, test error"
    data = place / "runs" / "width" / "data.json"
    kept = data.read_text()
    edited = re.sub(r'"fingerprint": "\w+', '"fingerprint": "other', kept)
    data.write_text(edited)
    assert said("law fit runs", capsys) == (1, "runs/width/data")  # .json is damaged
    write_checked(data, json.loads(edited))
    assert said("law fit runs", capsys) == (
        1,
        "width was trained on other images than all: one law cannot hold for both",
    )
    data.write_text(kept)
    log = place / "runs" / "all" / "log.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:1]))
    assert said("law fit runs", capsys) == (1, "all has not finished")


def said(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code, _, error = ended(line, capsys)
    assert error.startswith("phiscale: ") and error.count("\n") == 1, error
    return code, re.split(r" \(|\.", error.removeprefix("phiscale: "))[0]


MISTAKES = (
    # command line, exit code, what the one line says
    (
        "law ft mine.csv",
        2,
        r"'law ft' is an unknown command\. Did you mean law fit\? Use one of law fit,",
    ),
    ("law --json", 2, r"'law --json' is an unknown command.*Use one of law fit, law predict"),
    ("law fit", 2, r"law fit needs TABLE: a CSV file, folders of runs"),
    ("law fit effcientnet", 2, r"no file, folder or published table\. Did you mean efficientnet\?"),
    ("law fit nope.csv", 2, r"nope\.csv does not exist\. Name a CSV file"),
    ("law fit nope/", 2, r"nope/? is no file, folder"),
    ("law fit empty", 1, r"empty is no run and holds none"),
    ("law fit two.csv empty", 2, r"two\.csv is not a folder of runs\. Use folders, or one table"),
    ("law fit two.csv", 2, r"2 rows cannot fit a law of macs\. Use at least 3"),
    ("law fit nan.csv", 1, r"error of row 2 in nan\.csv is 'nan'"),
    ("law fit same.csv", 2, r"all rows have macs 1, .*Add a network of another macs"),
    ("law fit text.csv", 1, r"text\.csv has no header"),
    ("law fit efficientnet --axes banana", 2, r"efficientnet_b0 has no banana\. Add a column"),
    ("law fit efficientnet --compute 1", 2, "--compute 1 scales nothing"),
    ("law fit efficientnet --base nope", 2, r"'nope' is not a model"),
    ("law fit efficientnet --hold-out efficientnet_b9", 2, r"no row.*Did you mean efficientnet_b"),
    ("law fit efficientnet --hold-out zz", 2, r"--hold-out zz is no row of the table\. Rows are"),
    ("law fit efficientnet --run-sd 0.15", 2, r"--run-sd 0\.15 is 15 points\. Use 0\.15% or"),
    ("law fit efficientnet --run-sd some", 2, r"--run-sd: 'some' is not a number"),
    ("law fit efficientnet --plot law.txt", 2, r"cannot draw 'law\.txt'"),
    ("law fit efficientnet --out two.csv/law.json", 2, r"--out two\.csv/law\.json: two\.csv is no"),
    ("law fit efficientnet --axs macs", 2, r"unknown flag --axs\. Did you mean --axes"),
    ("law predict", 2, r"law predict needs LAW\.json"),
    ("law predict macs.json", 2, r"law predict needs a network"),
    ("law predict macs.json nope", 2, r"'nope' is not a model"),
    ("law predict none.json small", 1, r"cannot read none\.json"),
    ("law predict two.csv small", 1, r"two\.csv is not JSON"),
    ("law predict point.json small", 2, r"does not hold the rows.*law fit TABLE --out law\.json"),
    ("law predict torn.json small", 2, r'the "fit" of torn\.json: rows\[0\] lacks \'x\''),
    ("law predict edited.json small", 2, r'edited\.json is damaged: .*delete its "sha256" line'),
    ("solve small --law edited.json", 2, r'edited\.json is damaged: .*delete its "sha256" line'),
    ("law predict bent.json --phi 12", 2, r"does not know its base\. Fit it again with --base"),
    ("law predict bent-based.json --phi 12", 2, r"small phi 12 has .*Use at most 8x, or train"),
    ("law predict macs.json small --images-seen 1M", 2, r"the law does not count them\. Drop"),
    ("law predict latency.json small", 2, r"law is one of latency_ms, .*Fit one with --axes macs"),
    ("solve small --macs 1M --law macs.json", 2, r"macs\.json is a law of macs\. Fit one of depth"),
)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the mistakes name."""
    root = tmp_path_factory.mktemp("bad")
    (root / "empty").mkdir()
    (root / "two.csv").write_text("macs,error\n1,0.3\n2,0.2\n")
    (root / "nan.csv").write_text("macs,error\n1,0.3\n2,nan\n4,0.2\n")
    (root / "same.csv").write_text("macs,error\n1,0.3\n1,0.2\n1,0.1\n")
    (root / "text.csv").write_text("plain words\n")
    (root / "latency.csv").write_text("latency_ms,error\n1,0.3\n2,0.25\n4,0.22\n8,0.2\n")
    bent_table(root / "bent.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        main(shlex.split("law fit efficientnet --out macs.json"))
        main(shlex.split("law fit bent.csv --run-sd 0.0005 --out bent.json"))
        main(shlex.split("law fit bent.csv --base small --run-sd 0.0005 --out bent-based.json"))
        main(shlex.split("law fit latency.csv --axes latency_ms --base small --out latency.json"))
    torn = json.loads((root / "macs.json").read_text())
    del torn["fit"]["rows"][0]["x"]
    (root / "edited.json").write_text(json.dumps(torn))
    del torn["sha256"]
    (root / "torn.json").write_text(json.dumps(torn))
    (root / "point.json").write_text(json.dumps({"phiscale_law": 1, "e0": 0.1}))
    return root


@pytest.mark.parametrize(("line", "code", "says"), MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_type(
    line: str,
    code: int,
    says: str,
    bad: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(bad)
    capsys.readouterr()
    check_mistake(line, code, says, capsys)


def test_a_missing_folder_of_the_law_is_made(place: Path) -> None:
    main(shlex.split("law fit efficientnet --out new/folder/law.json"))
    assert FittedLaw.read(place / "new" / "folder" / "law.json").fit.points.names


def test_a_law_alone_lists_its_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["law"], ["law", "--help"]):
        main(words)
        out = capsys.readouterr().out
        assert "law fit" in out and "law predict" in out and "describe" not in out


def test_help_lists_the_published_tables(capsys: pytest.CaptureFixture[str]) -> None:
    from phiscale.planning.laws.tables import PUBLISHED

    with pytest.raises(SystemExit):
        main(["law", "fit", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert all(name in words for name in PUBLISHED)


def test_a_fit_that_is_no_law_of_dimensions_is_refused_by_law_read(bad: Path) -> None:
    with pytest.raises(UsageError, match=r"is a law of macs"):
        Law.read(bad / "macs.json")


def test_found_coefficients_replace_the_papers_where_a_law_predicts(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(shlex.split("law fit efficientnet-joint --out law.json"))
    Coefficients(alpha=1.0, beta=1.4, gamma=1.0).write(place / "found.json")
    capsys.readouterr()
    [wide] = in_json("law predict law.json --phi 2 --coefficients found.json", capsys)
    [paper] = in_json("law predict law.json --phi 2", capsys)
    assert wide["macs"] == cost(scale(get_spec("efficientnet_b0"), Scaling(width=1.4**2))).macs
    assert paper["macs"] != wide["macs"]
    with pytest.raises(SystemExit):
        main(shlex.split("law predict law.json efficientnet_b1 --coefficients found.json"))
    assert "Add --phi, such as --phi 1" in capsys.readouterr().err
