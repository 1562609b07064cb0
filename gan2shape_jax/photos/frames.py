"""Frames of a video as photographs: sharp ones, spread evenly over its time, and of those the ones that differ in view.

    pictures = frames("turn.mp4", most=48)             # [("00m00.1s", Picture), ...]
    kept = chosen(views, sharpness, most=12)           # once the object's view in each is known

A video is decoded by OpenCV's FFmpeg behind the wall (`io.sandbox`): of the containers below only, and without opening
any other file or address that it names.
"""

import os
import pathlib
import re
import warnings
from typing import Any

import numpy as np
from etils import epy
from jaxtyping import Float, Int, UInt8
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import MIB, open_regular
from gan2shape_jax.io.image_files import LARGEST, Picture
from gan2shape_jax.io.sandbox import run_limited

with epy.lazy_imports():  # it comes with an extra, which --help does without
    import cv2

# FFmpeg's demuxers by the first bytes. Pictures in ISO containers are not among them: HEIC and AVIF.
_CONTAINERS = {
    rb"....(ftyp(?!hei|hev|mif1|msf1|avif|avis)|moov|mdat|wide|free|skip|pnot)": "mov,mp4,m4a,3gp,3g2,mj2",
    rb"\x1a\x45\xdf\xa3": "matroska,webm",
    rb"RIFF....AVI ": "avi",
    rb"(.{4})?\x47.{187}(.{4})?\x47": "mpegts",
    rb"\0\0\x01\xba": "mpeg",
}
_HEAD = 512  # bytes that tell a container
_LARGEST = 2048  # pixels of the longer side above which a frame is shrunk to a half, a third, ...
_LOOKS = 4  # frames of each stretch of time, of which the sharpest is taken
_APART = 4.0  # frames between those, at most
_FAR = 120  # frames to go from which seeking is faster than decoding all: it decodes from a key frame on
_THREADS = 4  # of the decoder, each of which keeps frames
_MEMORY, _SECONDS = 3072 * MIB, 300  # for decoding a video in a child process; an hour of 4K takes a minute by seeking
_FRONTAL = np.radians(10)  # a view that counts as new to begin with, from the front


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as the videos do that are read, whatever its name; False if it cannot be read."""
    try:
        with open_regular(path) as file:
            return _container(file.read(_HEAD)) is not None
    except (OSError, UserError):
        return False


def frames(path: str | os.PathLike[str], most: int) -> list[tuple[str, Picture]]:
    """Returns at most so many frames of a video, in the order of time, each with its time such as `00m03.2s`.

    Time is divided evenly, and the sharpest of a few frames is taken of each stretch, turned as the file says; frames
    of more than 2048 pixels a side are shrunk. A long video is read by seeking, not by decoding all of it. Warns of one
    that has a single frame. Raises `UserError` for a file that is missing, damaged, no video, without pictures, too
    large, or takes too long.
    """
    path = pathlib.Path(path)
    try:
        with open_regular(path) as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        raise UserError(f"video {path} does not exist") from None
    except OSError as error:
        raise UserError(f"video {path} cannot be read: {error.strerror}") from error
    if not head:
        raise UserError(f"video {path} is empty (0 bytes)")
    if (container := _container(head)) is None:
        raise UserError(f"{path} is not a video of a known kind; MP4, MOV, WebM, MKV, AVI and MPEG are read")
    limits: dict[str, Any] = {"memory": _MEMORY, "seconds": _SECONDS, "source": f"video {path}"}
    decoded = run_limited(_decoded, str(path.resolve()), str(path), container, most, **limits)
    if len(decoded) == 1 < most:
        warnings.warn(f"video {path} has a single frame: it counts as one photo", stacklevel=2)
    return [(_clock(seconds), Picture(Image.fromarray(pixels), None, by, False)) for seconds, by, pixels in decoded]


def _clock(seconds: float) -> str:
    tenths = int(10 * seconds)
    return f"{tenths // 600:02}m{tenths % 600 / 10:04.1f}s"


def _container(head: bytes) -> str | None:
    return next((name for start, name in _CONTAINERS.items() if re.match(start, head, re.DOTALL)), None)


def _decoded(place: str, path: str, container: str, most: int) -> list[tuple[float, int, UInt8[np.ndarray, "h w 3"]]]:
    """Returns seconds, reduction and pixels of frames; runs in the child."""
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"protocol_whitelist;file|format_whitelist;{container}"
    # What a header says may be wrong, and a browser's recording says nothing: then all frames are counted.
    for count in (_reported, _counted):
        if (number := count(_opened(place, path))) > 0 and (found := _sharpest(_opened(place, path), number, most)):
            return found
    raise UserError(f"video {path} is damaged or truncated: no frame of it can be read")


def _opened(place: str, path: str) -> "cv2.VideoCapture":
    capture = cv2.VideoCapture(place, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, _THREADS])
    if not capture.isOpened():
        raise UserError(f"video {path} is damaged or truncated, or has no pictures, only sound")
    width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if max(width, height) > LARGEST:
        raise UserError(f"video {path} is {width} x {height} pixels: at most {LARGEST} a side are read")
    return capture


def _reported(capture: "cv2.VideoCapture") -> int:
    return int(capture.get(cv2.CAP_PROP_FRAME_COUNT))


def _counted(capture: "cv2.VideoCapture") -> int:
    count = 0
    while capture.grab():
        count += 1
    return count


def _sharpest(capture: Any, count: int, most: int) -> list[tuple[float, int, np.ndarray]]:
    """Returns the sharpest frame of each of `most` stretches of a video of `count` frames, where they can be read.

    `capture` is one of OpenCV's, or what does the same.
    """
    stretches = min(most, count)
    length = count / stretches
    apart, found, at = min(length / _LOOKS, _APART), [], -1  # `at` is the last frame that was decoded
    for stretch in range(stretches):
        steps = (np.arange(_LOOKS) - (_LOOKS - 1) / 2) * apart
        seen: list[tuple[float, float, int, np.ndarray]] = []
        for number in np.unique(((stretch + 0.5) * length + steps).astype(int)).tolist():
            if number - at > _FAR and capture.set(cv2.CAP_PROP_POS_FRAMES, number):
                at = number - 1
            while at < number and capture.grab():
                at += 1
            if at < number or not (read := capture.retrieve())[0]:
                break
            pixels, seconds = read[1], max(capture.get(cv2.CAP_PROP_POS_MSEC), 0.0) / 1000
            if (by := -(-max(pixels.shape) // _LARGEST)) > 1:
                size = (pixels.shape[1] // by, pixels.shape[0] // by)
                pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            edges = cv2.Laplacian(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), cv2.CV_32F)
            seen.append((float(edges.var()), seconds, by, pixels))
        if seen:
            _, seconds, by, pixels = max(seen, key=lambda one: one[0])
            found.append((seconds, by, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)))
    return found


def chosen(views: Float[np.ndarray, "n 6"], sharpness: Float[np.ndarray, "n"], most: int) -> Int[np.ndarray, "k"]:
    """Returns which pictures of one object to keep, at most so many: sharp ones, evenly over its views, in their order.

    Of `views`, rx and ry (radians) count. `sharpness` is of any unit, higher is sharper: what is less sharp than the
    median counts as that much less new. The first one is the most frontal, and then each is the one that differs most
    from those that are taken (farthest-point sampling).
    """
    worth = np.clip(sharpness / max(float(np.median(sharpness)), 1e-9), 0, 1)
    angles = np.asarray(views)[:, :2]
    taken = [int(np.argmax(worth / (_FRONTAL + np.linalg.norm(angles, axis=1))))]
    new = np.full(len(angles), np.inf)
    while len(taken) < min(most, len(angles)):
        new = np.minimum(new, np.linalg.norm(angles - angles[taken[-1]], axis=1))
        new[taken[-1]] = -1  # also among pictures of the same view
        taken.append(int(np.argmax(np.where(new >= 0, (new + 1e-6) * worth, -1))))
    return np.sort(taken)
