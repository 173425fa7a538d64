"""What a file is, from its first bytes: an image we read, or something else with a name."""

from __future__ import annotations

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib", ".avif"}
    | {".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpx"}
)
"""What names usually end in. A hint for listing files; reading goes by content."""

HEAD_BYTES = 512
"""How much of a file the functions here look at."""

_IMAGE_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
)

_OTHER_SIGNATURES = (
    (b"version https://git-lfs", "a git-LFS pointer, not the image; git lfs pull fetches it"),
    (b"%PDF", "a PDF document, not an image"),
    (b"%!PS", "PostScript, not an image"),
    (b"PK\x03\x04", "a ZIP archive, not an image"),
    (b"\x1f\x8b", "gzip-compressed data, not an image"),
    (b"7z\xbc\xaf", "a 7z archive, not an image"),
    (b"Rar!", "a RAR archive, not an image"),
    (b"8BPS", "a Photoshop document; save it as PNG"),
    (b"\xff\x0a", "JPEG XL, which is not read; save it as PNG or JPEG"),
    (b"\0\0\0\x0cJXL ", "JPEG XL, which is not read; save it as PNG or JPEG"),
    (b"\x93NUMPY", "a NumPy array, not an image file; save it as PNG or TIFF"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, not an image; save its images as PNG or TIFF"),
    (b"SIMPLE  =", "a FITS file, which is not read; save it as TIFF of 16 or 32 bits"),
    (b"MATLAB 5.0", "a MATLAB file, not an image; save its images as PNG or TIFF"),
    (b"\x76\x2f\x31\x01", "OpenEXR, which is not read; save it as PNG or TIFF"),
    (b"#?RADIANCE", "Radiance HDR, which is not read; save it as PNG or TIFF"),
    (b"DDS ", "a DDS texture, which is not read; save it as PNG"),
    (b"qoif", "QOI, which is not read; save it as PNG"),
    (b"BPG\xfb", "BPG, which is not read; save it as PNG or JPEG"),
    (b"FUJIFILMCCD-RAW", "a camera's raw image, which is not read; develop it to JPEG or PNG"),
    (b"\0\0\1\0", "a Windows icon, which is not read; save it as PNG"),
    (b"PAR1", "a Parquet table, not an image"),
    (b"\x28\xb5\x2f\xfd", "Zstandard-compressed data, not an image"),
    (b"BZh", "bzip2-compressed data, not an image"),
    (b"\xfd7zXZ\0", "xz-compressed data, not an image"),
    (b"\x1aE\xdf\xa3", "a video, not an image"),
    (b"OggS", "a video or sound, not an image"),
    (b"\x7fELF", "a program, not an image"),
    (b"MZ", "a program, not an image"),
)

_MARKUP_STARTS = (
    (b"<!doctype html", "a web page (HTML), not an image"),
    (b"<html", "a web page (HTML), not an image"),
    (b"<head", "a web page (HTML), not an image"),
    (b"<body", "a web page (HTML), not an image"),
    (b"<svg", "an SVG drawing, not pixels; save it as PNG"),
    (b"<?xml", "XML (perhaps an SVG drawing), not an image"),
)


def detect_image_format(data: bytes) -> str | None:
    """Returns the image format that these bytes begin like, of those we read, or None."""
    for signature, name in _IMAGE_SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        return "AVIF"
    if data[:1] == b"P" and data[1:2] in b"1234567Ff" and data[2:3].isspace():
        return "PPM"
    return None


def detect_other_type(data: bytes) -> str | None:
    """Returns what these bytes are instead of an image, as far as they show it, else None."""
    for signature, reason in _OTHER_SIGNATURES:
        if data.startswith(signature):
            return reason
    if data[128:132] == b"DICM":
        return "DICOM, which is not read; export it as 16-bit PNG or TIFF"
    if data[257:262] == b"ustar":
        return "a tar archive, not an image"
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
            return None if b"avif" in data[12:64] else "HEIC, which is not read; save it as JPEG"
        if brand == b"crx ":
            return "a camera's raw image, which is not read; develop it to JPEG or PNG"
        if brand not in (b"avif", b"avis"):
            return "a video, not an image"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "a video, not an image"
    text = data[:HEAD_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for start, reason in _MARKUP_STARTS:
        if text.startswith(start):
            return reason
    head = data[:HEAD_BYTES]
    if (
        detect_image_format(head) is None
        and head.isascii()
        and head.decode().replace("\n", "").isprintable()
    ):
        return "text, not an image"
    return None
