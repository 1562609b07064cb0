"""Which picture formats are read, recognized by their first bytes; Pillow is asked for that one format only.

Pillow knows some forty formats. It starts another program for one of them (Ghostscript for EPS), and decodes others
byte by byte in Python; so the list here is closed. AVIF and HEIC are not on it: what decoding them takes depends on the
video stream inside, not on what Pillow checks first. Single photos in these formats are read by `isolated_decoder`.
"""

import re

__all__ = ["READ", "READ_ALONE", "isolated_kind_of", "kind_of"]

READ = "PNG, JPEG, WebP, TIFF, GIF, BMP and PPM"
READ_ALONE = "PNG, JPEG, WebP, AVIF, HEIC, TIFF, GIF, BMP and PPM"  # for single photos

# Pillow's names by the first bytes.
_KINDS = {
    rb"\x89PNG\r\n\x1a\n": "PNG",
    rb"\xff\xd8\xff": "JPEG",
    rb"RIFF....WEBP": "WEBP",
    rb"(II[*+]\x00|MM\x00[*+])": "TIFF",
    rb"GIF8[79]a": "GIF",
    rb"BM": "BMP",
    rb"P[456]\s": "PPM",
}
# Common names of other formats, for messages.
_OTHERS = {
    rb"(%!PS|\xc5\xd0\xd3\xc6)": "EPS or PostScript",
    rb"%PDF": "PDF",
    rb"\s*(<\?xml.*)?<svg": "SVG",
    rb"\s*(<\?xml|<!doctype|<html)": "a web page or XML: has a download failed?",
    rb"(\xd7\xcd\xc6\x9a|\x01\x00\x00\x00.{36} EMF)": "WMF or EMF",
    rb"....ftyp(avi|mif1.{0,40}avif)": "AVIF",
    rb"....ftyp(hei|hev|mif1|msf1)": "HEIC",
    rb"(\x00\x00\x00\x0cJXL |\xff\x0a)": "JPEG XL",
    rb"(\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51)": "JPEG 2000",
    rb"8BPS": "Photoshop",
    rb"\x00\x00[\x01\x02]\x00": "an icon",
    rb"icns": "an icon",
    rb"P[123]\s": "PPM written as text",
    rb"P[Ff7]\s": "PFM or PAM",
    rb"DDS ": "DDS",
    rb"v/1\x01": "OpenEXR",
    rb"#\?(RADIANCE|RGBE)": "Radiance HDR",
    rb"\x93NUMPY": "a NumPy array",
    rb"PK\x03\x04": "a zip archive",
    rb"\x1f\x8b": "compressed by gzip",
}


def kind_of(head: bytes) -> str:
    """Returns Pillow's name for a picture file's format.

    Args:
      head: its first bytes, 64 or more.

    Raises:
      ValueError: it is not of a format that is read; the message names its format, if known.
    """
    for start, kind in _KINDS.items():
        if re.match(start, head, re.DOTALL):
            return kind
    for start, name in _OTHERS.items():
        if re.match(start, head, re.DOTALL | re.IGNORECASE):
            raise ValueError(name)
    raise ValueError("")


def isolated_kind_of(head: bytes) -> str | None:
    """Returns 'AVIF' or 'HEIC' if a file's first bytes say so, else None."""
    for start, name in _OTHERS.items():
        if name in ("AVIF", "HEIC") and re.match(start, head, re.DOTALL | re.IGNORECASE):
            return name
    return None
