"""Everything that a run leaves behind: `atomic` writes files whole or not at all and locks folders,
`records` turns dataclasses into versioned JSON and back."""

from phiscale.files.atomic import (
    cache_folder,
    locked,
    read_json,
    sha256,
    sweep,
    sync_folder,
    write_atomic,
    write_json,
)
from phiscale.files.records import (
    CHECKSUM,
    Format,
    added,
    canonical,
    checksum,
    encoded,
    read_checked,
    verified,
    with_checksum,
    write_checked,
)

__all__ = [
    "CHECKSUM",
    "Format",
    "added",
    "cache_folder",
    "canonical",
    "checksum",
    "encoded",
    "locked",
    "read_checked",
    "read_json",
    "sha256",
    "sweep",
    "sync_folder",
    "verified",
    "with_checksum",
    "write_atomic",
    "write_checked",
    "write_json",
]
