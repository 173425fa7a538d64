"""Files that a run leaves behind, all of them written and read through here.

`atomic` writes files whole or not at all and locks folders. `records` turns dataclasses into
versioned JSON and back, `decoding` checks each value, `checksums` finds edits and damage.
"""

from phiscale.files.atomic import (
    LOCK,
    cache_folder,
    check_no_file,
    check_out_folder,
    lock_folder,
    read_json,
    remove_partial_files,
    sha256,
    sync_folder,
    write_atomic,
    write_json,
)
from phiscale.files.checksums import (
    CHECKSUM,
    canonical,
    checksum,
    read_checked,
    verify_checksum,
    with_checksum,
    write_checked,
)
from phiscale.files.decoding import added_field, encoded_field
from phiscale.files.differences import Difference, differences
from phiscale.files.records import Format

__all__ = [
    "CHECKSUM",
    "LOCK",
    "Difference",
    "Format",
    "added_field",
    "cache_folder",
    "canonical",
    "check_no_file",
    "check_out_folder",
    "checksum",
    "differences",
    "encoded_field",
    "lock_folder",
    "read_checked",
    "read_json",
    "remove_partial_files",
    "sha256",
    "sync_folder",
    "verify_checksum",
    "with_checksum",
    "write_atomic",
    "write_checked",
    "write_json",
]
