"""What is given to `predict` and is no image: the message says what is taken."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from phiscale.deploy.images import name_images
from phiscale.errors import DataError


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        ("https://example.org/cat.jpg", "https://example.org/cat.jpg is a URL. Download"),
        ("s3://bucket/cat.jpg", "is a URL"),
        ("-", "not read from standard input"),
        ("photos/*.jpg", "no file matches"),
        ("photos/cat.jpg", "does not exist"),
    ],
)
def test_a_path_that_is_no_file_is_named_for_what_it_is(image: str, complaint: str) -> None:
    for path in (image, [Path(image)]):
        with pytest.raises(DataError, match=complaint):
            list(name_images(path))


def test_an_archive_is_to_be_unpacked_first(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(DataError, match=r"images\.zip is an archive\. Unpack it"):
        list(name_images(tmp_path / "images.zip"))
