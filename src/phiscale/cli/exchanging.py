"""Commands that exchange weights with other libraries: import, convert, push."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from phiscale.cli.output import to_stderr
from phiscale.cli.values import File, Member, Switch, check_file, lines_of

Weights = Annotated[str, arg(metavar="SOURCE")]


def import_(
    source: Positional[Weights],
    /,
    *,
    out: Annotated[Path, arg(metavar="FILE")],
    model: Member = None,
    classes: File = None,
) -> None:
    """Import weights of timm, torchvision, lukemelas, Keras or TensorFlow.

    Names and shapes show which library and which network a file comes from; both are reported.

    Args:
        source: File, folder of a hub repository, hf-hub:NAME, torchvision:NAME, or model.tag.
        out: Weights file to write (.safetensors).
        model: Name of the model, where the file fits several (it shows no padding and no epsilon).
        classes: Text file with the name of a class on each line, for a custom head.
    """
    from phiscale.weights.importing import import_weights

    check_file("--out", out)
    names = lines_of("--classes", classes) if classes else ()
    metadata = import_weights(source, out, model=model or "", classes=names)
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
        weights: Weights file or RUN of phiscale, or any other SOURCE.
        out: File to write: .safetensors or .pth; .weights.h5 for Keras; .ckpt for TensorFlow.
        to: Library that is to load the file.
    """
    from phiscale.weights.aliases import describe_difference
    from phiscale.weights.importing import check_output
    from phiscale.weights.sources import weights_file
    from phiscale.weights.store import read
    from phiscale.weights.writers import write_foreign

    check_file("--out", out)
    path = weights_file(weights)
    check_output(out, path)
    metadata, tensors = read(path)
    write_foreign(out, to, metadata.spec, tensors, metadata.preprocessing)
    if difference := describe_difference(to, metadata.spec):
        to_stderr(f"warning: {difference}")
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
        weights: Weights file or RUN of phiscale.
        repo: Repository on the hub; a new one is created.
        private: Make a new repository private.
    """
    from phiscale.weights.hub import push as upload
    from phiscale.weights.sources import weights_file

    print(upload(weights_file(weights), repo, private=private))
