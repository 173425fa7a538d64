"""Verbs that exchange weights with other libraries: import, convert, push."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from phiscale.cli.output import to_stderr
from phiscale.cli.values import File, Member, Switch, a_file, lines_of
from phiscale.errors import UsageError

Weights = Annotated[str, arg(metavar="SOURCE")]


def import_(
    source: Positional[Weights],
    /,
    *,
    out: Annotated[Path, arg(metavar="FILE")],
    model: Member = None,
    classes: File = None,
) -> None:
    """Make a weights file of phiscale from timm's, torchvision's, lukemelas', Keras's or TF's.

    Whose file it is, and of which network, is recognised from names and shapes, and said.

    Args:
        source: file, folder of a hub repository, hf-hub:NAME, torchvision:NAME, or member.tag.
        out: weights file to write (.safetensors).
        model: the member, where the file fits several (padding and epsilon leave no trace in it).
        classes: text file with the name of a class on each line, for a head of one's own.
    """
    from phiscale.weights.sources import import_weights

    a_file("--out", out)
    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out} would hold safetensors. Name it {out.stem}.safetensors.")
    named = lines_of("--classes", classes) if classes else None
    metadata = import_weights(source, out, model=model or "", classes=named)
    print(
        f"wrote {out}: {metadata.member or 'a network'}, {metadata.spec.classes} classes, "
        f"{metadata.preprocessing.size} px"
    )


def convert(
    weights: Positional[Weights],
    /,
    *,
    out: Annotated[Path, arg(metavar="FILE")],
    to: Literal["timm", "torchvision", "lukemelas", "keras", "tf"],
) -> None:
    """Write weights under another library's names, in a file that it loads.

    Args:
        weights: weights file or RUN of phiscale, or any other SOURCE.
        out: file to write: .safetensors or .pth; .weights.h5 for Keras; .ckpt for TensorFlow.
        to: the library.
    """
    from phiscale.weights.aliases import describe_difference
    from phiscale.weights.sources import check_output, weights_file
    from phiscale.weights.store import read
    from phiscale.weights.writers import write_foreign

    a_file("--out", out)
    path = weights_file(weights)
    check_output(out, path)
    metadata, tensors = read(path)
    write_foreign(out, to, metadata.spec, tensors, metadata.preprocessing)
    if said := describe_difference(to, metadata.spec):
        to_stderr(said)
    print(f"wrote {out} under {to}'s names")


def push(
    weights: Positional[Weights],
    repo: Positional[Annotated[str, arg(metavar="ORG/NAME")]],
    /,
    *,
    private: Switch = False,
) -> None:
    """Upload weights to the Hugging Face hub, with config.json and a model card.

    Args:
        weights: weights file or RUN of phiscale.
        repo: repository, made if it is new.
        private: hide a new repository from others.
    """
    from phiscale.weights.hub import push as upload
    from phiscale.weights.sources import weights_file

    print(upload(weights_file(weights), repo, private=private))
