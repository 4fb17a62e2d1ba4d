"""What a file is, by its first bytes, for sentences about files that are not what their names say.

The signatures are those of the formats' own specifications, and of the `file` command's list for camera files.
"""

import re
from pathlib import Path
from typing import NamedTuple

from .reading import demand_file

START = 4096  # bytes that are looked at


class Kind(NamedTuple):
    name: str  # short, for programs
    what: str  # "a PNG image"
    advice: str = ""  # what to do, if it was to be an image and is not read


FRAMES = "take frames out of it as PNG files"
TO_TIFF = "convert it to a TIFF or PNG file"
NOTHING = Kind("", "of no format that is known here", "open it in an image editor and save it as PNG")
EMPTY = Kind("empty", "an empty file", "copy or download it again")
ZEROS = Kind("zeros", "a file of zeros", "copy or download it again")
TEXT = Kind("text", "a text", "check the name")
JSON = Kind("json", "a text in JSON", "check the name")
WORKFLOW = Kind("workflow", "a workflow of nodes", "run it with `exact-vae run`")
HTML = Kind("html", "a web page (HTML)", "download the image itself, not the page that shows it")
LFS = Kind("lfs", "a pointer of Git LFS", "fetch the file itself with `git lfs pull`")
TIFF = Kind("TIFF", "a TIFF image", TO_TIFF)
HEIF = Kind("HEIF", "a HEIC image", "install pillow-heif (pip install pillow-heif), or convert it to PNG or JPEG")
JXL = Kind("JXL", "a JPEG XL image", "install imagecodecs (pip install imagecodecs), or convert it to PNG")
AVIF = Kind("AVIF", "an AVIF image", "update Pillow to 11.3 or newer, or convert it to PNG")
PNM = Kind("PNM", "a PNM image")
EXR = Kind("EXR", "an OpenEXR image", "convert it to a TIFF of 16 bits or of floats")
GGUF = Kind("GGUF", "a GGUF file, weights quantised in blocks", "take the .safetensors file that it was made of")
ONNX = Kind("ONNX", "a program in ONNX", "take the .safetensors file that it was made of")
ENGINE = Kind("TensorRT", "an engine of TensorRT, made for one card", "take the .safetensors file that it was made of")
FLAX = Kind(
    "Flax",
    "a MessagePack file, weights as Flax writes them",
    "take the .safetensors or .bin file of the same repository",
)
VIDEO = Kind("video", "a video", FRAMES)
RAW = Kind("raw", "a camera's raw file", "develop it and export a TIFF of 16 bits")

# (offset, bytes, kind); the first that fits counts
SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", Kind("PNG", "a PNG image")),
    (0, b"\xff\xd8\xff", Kind("JPEG", "a JPEG image")),
    (0, b"GIF8", Kind("GIF", "a GIF image")),
    (8, b"WEBP", Kind("WEBP", "a WebP image")),
    (0, b"BM", Kind("BMP", "a BMP image")),
    (8, b"CR\x02\x00", RAW),
    (0, b"IIRO", RAW),
    (0, b"IIU\x00", RAW),
    (0, b"FUJIFILMCCD-RAW", RAW),
    (4, b"ftypcrx ", RAW),
    *((0, start, TIFF) for start in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")),
    *((4, b"ftyp" + brand, AVIF) for brand in (b"avif", b"avis")),
    *((4, b"ftyp" + brand, HEIF) for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")),
    (4, b"ftyp", VIDEO),
    (0, b"\x1aE\xdf\xa3", VIDEO),
    (8, b"AVI ", VIDEO),
    (0, b"\xff\x0a", JXL),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", JXL),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", Kind("JPEG2000", "a JPEG 2000 image")),
    (0, b"\xff\x4f\xff\x51", Kind("JPEG2000", "a JPEG 2000 image")),
    *((0, start, PNM) for start in (b"P5", b"P6")),
    (0, b"v/1\x01", EXR),
    (0, b"#?RADIANCE", Kind("HDR", "a Radiance HDR image", "convert it to a TIFF of 16 bits or of floats")),
    (0, b"#?RGBE", Kind("HDR", "a Radiance HDR image", "convert it to a TIFF of 16 bits or of floats")),
    (0, b"8BPS", Kind("PSD", "a Photoshop file", "export it as PNG or TIFF")),
    (0, b"gimp xcf", Kind("XCF", "a GIMP file", "export it as PNG or TIFF")),
    (0, b"SIMPLE  =", Kind("FITS", "a FITS image", "convert it to a TIFF of 16 bits")),
    (0, b"%PDF", Kind("PDF", "a PDF document", "export its page as PNG")),
    (0, b"%!PS", Kind("PS", "a PostScript document", "export its page as PNG")),
    (0, b"\xc5\xd0\xd3\xc6", Kind("PS", "a PostScript document", "export its page as PNG")),
    (0, b"PK\x03\x04", Kind("zip", "a ZIP archive", "unpack it")),
    (0, b"\x1f\x8b", Kind("gzip", "a gzip archive", "unpack it")),
    (0, b"7z\xbc\xaf", Kind("7z", "a 7z archive", "unpack it")),
    (0, b"Rar!", Kind("rar", "a RAR archive", "unpack it")),
    (0, b"version https://git-lfs", LFS),
    (0, b"GGUF", GGUF),
    (0, b"\x89HDF\r\n\x1a\n", Kind("HDF5", "an HDF5 file, as Keras writes", "take the .safetensors file instead")),
    (0, b"\x93NUMPY", Kind("numpy", "one array of numpy", "take a .safetensors file, which holds all by name")),
    (2, b"\x12\x07pytorch", ONNX),
    *((0, start, ENGINE) for start in (b"ftrt", b"ptrt")),
)  # fmt: skip
# MessagePack: a table of 1 to 15 names (or of more), the first name, and behind it a table or an array of numbers. See
# https://github.com/msgpack/msgpack/blob/master/spec.md and flax.serialization.
FLAX_START = re.compile(
    rb"([\x81-\x8f]|\xde..)[\xa1-\xbf][A-Za-z_][A-Za-z0-9_]*[\x80-\x8f\xc7-\xc9\xd4-\xd8\xde\xdf]", re.DOTALL
)
IMAGES = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "HEIF", "AVIF", "JXL", "JPEG2000", "PNM", "EXR", "HDR", "PSD",
          "XCF", "FITS", "svg", "raw")  # fmt: skip
SVG = Kind("svg", "a drawing (SVG)", "render it as PNG")
WORKFLOW_WORDS = (b'"class_type"', b'"last_node_id"', b'"widgets_values"')


def kind_of(path: Path) -> Kind:
    """What the file is, by its first bytes. Raises OSError, and BadRequest for what is no file, as a pipe."""
    with demand_file(path).open("rb") as file:
        return kind_of_bytes(file.read(START))


def kind_of_bytes(start: bytes) -> Kind:
    """What a file is that begins like this."""
    for offset, signature, kind in SIGNATURES:
        if start[offset : offset + len(signature)] == signature:
            return kind
    if start[4:9] == b"\0\0\0\0{":  # the length of a header, then the header
        return Kind("safetensors", "a safetensors file: weights or a latent", "check the name")
    if FLAX_START.match(start):
        return FLAX
    if not start.strip(b"\0"):
        return ZEROS if start else EMPTY
    return _kind_of_text(start)


def _kind_of_text(start: bytes) -> Kind:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = text[:1024].lower()
    if b"<svg" in lower:
        return SVG
    if lower.startswith((b"<!doctype html", b"<html", b"<head", b"<script")) or b"<html" in lower:
        return HTML
    if any(byte < 9 or 13 < byte < 32 for byte in start) or not _is_utf8(start):
        return NOTHING
    if text[:1] in (b"{", b"["):
        return WORKFLOW if any(word in start for word in WORKFLOW_WORDS) else JSON
    return TEXT


def _is_utf8(start: bytes) -> bool:
    """But for a character at the end that is cut off."""
    try:
        start.decode()
    except UnicodeDecodeError as e:
        return e.reason == "unexpected end of data"
    return True
