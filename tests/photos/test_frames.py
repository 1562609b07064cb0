"""Frames of videos: as many as asked, sharp, spread over the time, upright; and of what is no video a sentence."""

import struct
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.photos import frames as module
from gan2shape_jax.photos.frames import chosen, frames, is_video

_TEXTURE = np.random.default_rng(0).integers(0, 256, (6, 8, 1), np.uint8)


def _picture(level: int, *, size=(64, 48), sharp=True) -> np.ndarray:
    """Returns a frame (h, w, 3) of texture whose red side, above, has a level, and which is blurred unless sharp."""
    drawn = np.repeat(cv2.resize(_TEXTURE, size, interpolation=cv2.INTER_NEAREST)[..., None] // 2, 3, axis=2)
    drawn = drawn if sharp else cv2.GaussianBlur(drawn, (0, 0), 6)
    drawn[: size[1] // 4] = (0, 0, level)
    return drawn


def _written(path, pictures, *, fps=10.0, codec="mp4v"):
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (width, height))
    assert writer.isOpened()
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path


def _turned(path, target, matrix):
    """Writes an MP4 again with another matrix of how it is to be shown, as phones write it."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40
    content[start : start + 36] = struct.pack(
        ">9i", *(int(v * (1 << 30 if k % 3 == 2 else 1 << 16)) for k, v in enumerate(matrix))
    )
    target.write_bytes(content)
    return target


@pytest.fixture(scope="module")
def turn(tmp_path_factory):
    """A video of four seconds, whose level rises from 40 to 235 and of which every other frame is blurred."""
    pictures = [_picture(40 + 5 * k, sharp=k % 2 == 1) for k in range(40)]
    return _written(tmp_path_factory.mktemp("videos") / "turn.mp4", pictures)


def _level(picture) -> float:
    return float(np.asarray(picture.picture)[2:8, 8:-8, 0].mean())


def test_frames_are_sharp_and_evenly_spread(turn):
    assert is_video(turn)
    found = frames(turn, 8)
    numbers = [round(10 * float(name.removeprefix("00m").removesuffix("s"))) for name, _ in found]
    assert len(found) == 8 and np.abs(np.array(numbers) - (5 * np.arange(8) + 2)).max() <= 2
    assert all(number % 2 == 1 for number in numbers)  # sharp
    assert np.allclose([_level(picture) for _, picture in found], 40 + 5 * np.array(numbers), atol=8)
    assert found[0][1].picture.size == (64, 48) and found[0][1].reduction == 1 and found[0][1].alpha is None


def test_no_more_than_there_are(turn):
    found = frames(turn, 100)
    assert len({name for name, _ in found}) == len(found) == 40


@pytest.mark.parametrize(
    ("matrix", "size", "side"),
    [((0, 1, 0, -1, 0, 0, 48, 0, 1), (48, 64), "right"), ((-1, 0, 0, 0, -1, 0, 64, 48, 1), (64, 48), "bottom")],
)
def test_frames_are_turned_as_the_file_says(turn, tmp_path, matrix, size, side):
    [(_, first)] = frames(_turned(turn, tmp_path / "held.mp4", matrix), 1)
    assert first.picture.size == size
    pixels = np.asarray(first.picture).astype(int)
    red = {"right": pixels[8:-8, -8:-2], "bottom": pixels[-8:-2, 8:-8]}[side]
    assert (red[..., 0] - red[..., 1]).mean() > 60


def test_4k_is_shrunk(tmp_path):
    path = _written(tmp_path / "large.mp4", [_picture(k, size=(3840, 2160)) for k in (50, 250)])
    [(_, one), _] = frames(path, 2)
    assert one.picture.size == (1920, 1080) and one.reduction == 2


def test_two_hours_are_read_by_seeking(tmp_path, monkeypatch):
    path = _written(tmp_path / "long.avi", [_picture(k % 200 + 40) for k in range(7200)], fps=1.0, codec="MJPG")
    grabbed = []

    class Counting:  # no subclass: OpenCV's types crash Python's garbage collector then
        def __init__(self, *given):
            self.capture = module.cv2.VideoCapture(*given)

        def grab(self):
            grabbed.append(1)
            return self.capture.grab()

        def __getattr__(self, name):
            return getattr(self.capture, name)

    capture = Counting(str(path))
    found = module._sharpest(capture, 7200, 12)
    assert len(found) == 12 and len(grabbed) < 200
    assert np.allclose(np.diff([seconds for seconds, *_ in found]), 600, atol=10)
    assert frames(path, 2)[1][0].startswith("90m")


def test_a_single_frame_is_a_photo(tmp_path):
    path = _written(tmp_path / "one.mp4", [_picture(200)])
    with pytest.warns(UserWarning, match="one.mp4 has a single frame"):
        assert len(frames(path, 12)) == 1


def test_a_recording_of_unknown_length_is_counted(turn, monkeypatch):
    monkeypatch.setattr(module, "_reported", lambda capture: -1)
    assert len(module._decoded(str(turn), str(turn), "mov", 5)) == 5


def _broken(turn, tmp_path):
    content = turn.read_bytes()
    audio = b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom\0\0\0\0"
    yield "none.mp4", None, "does not exist"
    yield "empty.mp4", b"", "is empty"
    yield "cut.mp4", content[: len(content) // 3], "is damaged or truncated"
    yield "noise.mp4", content[:32] + bytes(range(256)) * 40, "is damaged or truncated"
    yield "song.m4a", audio, "only sound"
    yield "song.wav", b"RIFF\x24\0\0\0WAVEfmt " + bytes(400), "is not a video of a known kind"
    yield "list.mp4", b"#EXTM3U\n#EXTINF:1,\n" + bytes(turn) + b"\n", "is not a video of a known kind"
    yield "page.mp4", b"<html>" + bytes(300), "is not a video of a known kind"


def test_what_is_no_video_is_refused_in_a_sentence(turn, tmp_path):
    for name, content, words in _broken(turn, tmp_path):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            frames(path, 4)
        assert str(path) in str(caught.value) and words in str(caught.value), name
        assert is_video(path) == (content is not None and module._container(content[:512]) is not None)
    with pytest.raises(UserError, match="is a folder"):
        frames(tmp_path, 4)


def test_pictures_are_no_videos(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.mp4", "PNG")
    (tmp_path / "b.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    assert not any(is_video(tmp_path / name) for name in ("a.mp4", "b.heic", "none", ""))


def test_a_video_cut_short_gives_what_it_has(turn, tmp_path):
    path = _written(tmp_path / "whole.avi", [_picture(5 * k + 40) for k in range(40)], codec="MJPG")
    (tmp_path / "part.avi").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 2 <= len(frames(tmp_path / "part.avi", 8)) <= 8


def _views(*yaws_pitches):
    degrees = [(pitch, yaw, 0, 0, 0, 0) for yaw, pitch in yaws_pitches]
    return np.radians(np.array(degrees, np.float32))


def test_chosen_are_evenly_over_the_views():
    yaws = [-40, -39, -38, -20, -2, -1, 0, 1, 2, 20, 38, 39, 40]
    taken = chosen(_views(*[(yaw, 0) for yaw in yaws]), np.ones(13), 5)
    assert [yaws[k] for k in taken] == [-40, -20, 0, 20, 40]
    assert chosen(_views((30, 0), (0, 0)), np.ones(2), 5).tolist() == [0, 1]


def test_chosen_are_sharp_ones_of_like_views():
    views = _views((0, 0), (1, 0), (30, 0), (31, 0), (-30, 10), (-31, 10))
    assert chosen(views, np.array([1, 9, 9, 1, 1, 9.0]), 3).tolist() == [1, 2, 5]


def test_chosen_takes_the_same_view_again_if_there_is_no_other():
    assert chosen(np.zeros((4, 6)), np.ones(4), 3).tolist() == [0, 1, 2]
    assert len(chosen(np.zeros((2, 6)), np.zeros(2), 2)) == 2  # no sharpness at all
