"""tyro's complaints become one line of ours. A tyro that words them differently fails here."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from tyro.conf import Positional, arg

from phiscale.cli.flags import call
from phiscale.errors import UsageError


def command(
    data: Positional[Annotated[str, arg(metavar="DATA")]],
    /,
    *,
    out: Path,
    kind: Literal["a", "b"] = "a",
    count: int = 1,
    share: float | None = None,
    factors: tuple[float, ...] = (),
    quick: bool = False,
) -> None:
    """Do nothing.

    Args:
        data: Images.
        out: Folder.
        kind: Kind.
        count: Number.
        share: Share.
        factors: Factors.
        quick: Be quick.
    """


COMPLAINTS = (
    # arguments, our line: the whole of it
    ("digits", "command needs --out"),
    ("", "command needs DATA and --out"),
    ("--out o", "command needs DATA"),
    ("digits --out o --count", "--count needs a value"),
    ("digits --out o --count few", "--count few is not a whole number"),
    ("digits --out o --count 1.5", "--count 1.5 is not a whole number"),
    ("digits --out o --share half", "--share half is not a number"),
    (
        "digits --out o --factors 1 x",
        "invalid values for --factors: '1', 'x'. Use values of the kind that the help names",
    ),
    ("digits --out o --kind c", "invalid value for --kind: c. Use one of 'a', 'b'"),
    ("digits more --out o", "more is unexpected"),
    ("digits --out o --cuont 3", "unknown flag --cuont. Did you mean --count?"),
    ("digits --out o --out p", "--out is given twice. Give it once."),
)


@pytest.mark.parametrize(("arguments", "says"), COMPLAINTS, ids=[c[0] for c in COMPLAINTS])
def test_what_tyro_complains_of_is_one_line_of_ours(arguments: str, says: str):
    with pytest.raises(UsageError) as error:
        call(command, arguments.split(), "phiscale command")
    assert str(error.value).removesuffix(" See phiscale command --help.").rstrip(
        "."
    ) == says.rstrip(".")
