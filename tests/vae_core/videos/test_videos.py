"""Videos are written frame by frame and read back, in right colours; what goes wrong leaves no file."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from exact_vae.vae_core import BadPixels, BadRequest, videos
from PIL import Image
from support.video_files import clip, read, to_pixels, write


# The mean error is of chroma at half the resolution, and of 8 bits; of wrong colours or ranges it would be 0.03 to 0.2.
@pytest.mark.parametrize(
    ("name", "codec", "crf", "most"),
    [
        ("a.mp4", "h264", 4, 0.012),
        ("a.mp4", "h265", 4, 0.012),
        ("a.mov", "prores", None, 0.003),
        ("a.webm", "vp9", 4, 0.012),
        ("a.mkv", "ffv1", None, 0.0041),
        ("a.mkv", "ffv1-16", None, 1e-5),
    ],
)
def test_what_is_written_is_read(tmp_path, name, codec, crf, most):
    x = clip(6)
    path = write(tmp_path / name, x, codec, crf)
    found = videos.open_frames(path, to_pixels)
    assert found.shape == x.shape and found.rate == 24
    error = read(path) - x
    assert error.abs().mean() < most and error.mean((1, 2, 3)).abs().max() < max(0.3 * most, 1e-5) + 0.004 * (
        codec == "ffv1"
    )
    assert [one.name for one in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("height", [300, 600], ids=["small", "high definition"])
def test_colours_of_videos_that_do_not_say_theirs(tmp_path, height):
    """As players take them: BT.601 up to 576 rows, BT.709 above."""
    space = av.video.reformatter.Colorspace.ITU601 if height <= 576 else av.video.reformatter.Colorspace.ITU709
    image = av.VideoFrame.from_ndarray(np.full((height, 32, 3), (200, 40, 90), np.uint8), "rgb24")
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = 32, height, "yuv444p"
        for packet in [*stream.encode(image.reformat(format="yuv444p", dst_colorspace=space)), *stream.encode()]:
            container.mux(packet)
    levels = (read(tmp_path / "a.mkv") + 1) * 127.5
    assert (levels.mean((1, 2, 3)) - torch.tensor([200.0, 40.0, 90.0])).abs().max() < 2.5


def test_lossless_frames_are_those_of_image_files(tmp_path):
    x = clip(3)
    found = (read(write(tmp_path / "a.mkv", x, "ffv1")) + 1) * 127.5
    assert torch.equal(found.round(), (((x + 1) / 2) * 255).to(torch.uint8).float())


@pytest.mark.parametrize("size", [(63, 95), (64, 95), (17, 16)])
def test_odd_sizes_are_kept(tmp_path, size):
    assert videos.open_frames(write(tmp_path / "a.mp4", clip(2, *size)), to_pixels).shape == (3, 2, *size)


def write_with_sound(path, codec: str):
    """A second of black frames, and of noise in this codec."""
    with av.open(str(path), "w") as container:
        images = container.add_stream("libx264", rate=Fraction(30000, 1001))
        images.width = images.height = 32
        sound = container.add_stream(codec, rate=48000)
        for _ in range(30):
            container.mux(images.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
        for i in range(47):
            noise = np.random.default_rng(i).standard_normal((1, 1024)) * 3000
            frame = av.AudioFrame.from_ndarray(noise.astype(np.int16), "s16", "mono")
            frame.rate, frame.pts = 48000, 1024 * i
            container.mux(sound.encode(frame))
        container.mux(images.encode())
        container.mux(sound.encode())
    return path


def test_frames_a_second_and_sound_are_copied(tmp_path):
    source = write_with_sound(tmp_path / "source.mkv", "aac")
    found = videos.VideoFrames(source, to_pixels)
    assert found.rate == Fraction(30000, 1001) and found.has_sound
    path = write(tmp_path / "a.mp4", clip(15, 32, 32), rate=found.rate, sound=source)
    assert videos.VideoFrames(path, to_pixels).rate == Fraction(30000, 1001)
    with av.open(str(path)) as container, av.open(str(source)) as first:
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
        all_packets = [bytes(packet) for packet in first.demux(audio=0) if packet.size]
    assert 15 <= len(packets) <= 30 and packets == all_packets[: len(packets)]  # 0.5 s of 1 s


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm"])
@pytest.mark.parametrize("codec", ["aac", "flac", "libopus", "pcm_s16le"])
def test_sound_is_copied_or_refused(tmp_path, name, codec):
    source, path = write_with_sound(tmp_path / "source.mkv", codec), tmp_path / name
    try:
        write(path, clip(8, 32, 32), sound=source)
    except BadRequest as refusal:
        assert "sound" in str(refusal) and "use .mkv" in str(refusal) and name != "a.mkv"
        assert list(tmp_path.iterdir()) == [source]
    else:
        with av.open(str(path)) as container:
            assert sum(packet.size > 0 for packet in container.demux(audio=0)) > 2


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm"])
def test_texts_are_kept(tmp_path, name):
    path, texts = tmp_path / name, {"prompt": '{"1": "grün"}', "workflow": "[]"}
    with videos.VideoFile(path, videos.choose_encoding(path), 24, texts=texts) as video:
        video.put(clip(1))
    with av.open(str(path)) as container:
        found = {key.lower(): value for key, value in container.metadata.items()}  # Matroska's are in capitals
    assert {key: found.get(key) for key in texts} == texts


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_times_that_an_encoder_never_set_are_mended(tmp_path, monkeypatch, frames):
    """libx265 leaves them by chance; here they are always wrong."""
    mux = videos.VideoFile._mux

    def spoil(self, packets):
        for packet in packets:
            packet.dts = 10**15
            mux(self, [packet])

    monkeypatch.setattr(videos.VideoFile, "_mux", spoil)
    assert read(write(tmp_path / "a.mp4", clip(frames, 32, 32), "h265")).shape[1] == frames


def test_sizes_that_an_encoder_does_not_take(tmp_path):
    with pytest.raises(BadRequest, match=r"a.mp4' cannot be written, 8x4 by libx265 .*: use .mkv, or another codec"):
        write(tmp_path / "a.mp4", clip(2, 4, 8), "h265")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadRequest, match="there is no file"):
        videos.open_frames(tmp_path / "none.mp4", to_pixels)


def test_a_turned_video_is_upright(tmp_path):
    path = write(tmp_path / "a.mkv", clip(2), "h264", 4)
    turned = read(path)
    frame = next(av.open(str(path)).decode(video=0))
    assert frame.rotation == 0
    from exact_vae.vae_core.videos import reading

    class Turned:
        def __getattr__(self, name):
            return 90 if name == "rotation" else getattr(frame, name)

    found = reading._to_values(Turned())
    assert torch.equal(found.movedim(-1, 0) * 2 - 1, turned[:, 0].rot90(1, (1, 2)))


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), videos.VideoFile(path, videos.choose_encoding(path), 24) as video:
        video.put(clip(3))
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([torch.zeros(4, 1, 8, 8)], "a video has 3 channels, these frames 4"),
        ([torch.zeros(3, 1, 8, 8), torch.zeros(3, 1, 8, 16)], "frame 2 of .* has another size"),
        ([], "was given no frames"),
    ],
    ids=["channels", "sizes", "none"],
)
def test_frames_that_cannot_be_written(tmp_path, frames, words):
    path = tmp_path / "a.mp4"
    with pytest.raises(BadPixels, match=words), videos.VideoFile(path, videos.choose_encoding(path), 24) as video:
        for some in frames:
            video.put(some)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "codec", "crf", "words"),
    [
        ("a.avi", None, None, "'a.avi' has the ending of no video: use .mp4, .mkv, .mov, .webm"),
        ("a.webm", "h264", None, "a .webm file holds vp9, not h264"),
        ("a.mov", "prores", 20, "prores has no quality to choose"),
        ("a.mp4", None, 52, "a crf is a number from 0 .best. to 51, not 52"),
    ],
)
def test_encodings_that_are_not(name, codec, crf, words):
    from pathlib import Path

    with pytest.raises(BadRequest, match=words):
        videos.choose_encoding(Path(name), codec, crf)


def test_a_rate_of_nothing(tmp_path):
    with pytest.raises(BadRequest, match="0 frames a second"):
        videos.VideoFile(tmp_path / "a.mp4", videos.choose_encoding(tmp_path / "a.mp4"), 0)


NO_VIDEOS = {
    "an empty file": b"",
    "a text": b"no video at all",
    r"a web page \(HTML\)": b"<html>",
    "a file of zeros": bytes(4096),
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\n",
    "Invalid data": b"\x81\x7f\x90" * 99,
}


@pytest.mark.parametrize("what", NO_VIDEOS)
def test_files_that_are_no_videos(tmp_path, what):
    """It is told what they are; FFmpeg says of all of them that their data are invalid."""
    (tmp_path / "a.mp4").write_bytes(NO_VIDEOS[what])
    with pytest.raises(BadPixels, match=rf"cannot be read as a video \((it is )?{what}.*\): give a whole"):
        videos.open_frames(tmp_path / "a.mp4", to_pixels)


def test_a_folder_of_images_in_the_order_of_their_numbers(tmp_path):
    for i in (10, 9, 1):
        Image.new("RGB", (8, 6), (i, 0, 0)).save(tmp_path / f"frame{i}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    found = videos.open_frames(tmp_path, to_pixels)
    assert found.shape == (3, 3, 6, 8)
    reds = (torch.cat(list(found.read()), 1)[0, :, 0, 0] + 1) * 127.5
    assert reds.round().tolist() == [1, 9, 10]


def test_folders_that_are_no_clips(tmp_path):
    with pytest.raises(BadPixels, match="holds no images"):
        videos.open_frames(tmp_path, to_pixels)
    for i, width in enumerate((8, 9)):
        Image.new("RGB", (width, 6)).save(tmp_path / f"{i}.png")
    with pytest.raises(BadPixels, match=r"1.png' is 9x6, but '0.png' is 8x6"):
        list(videos.open_frames(tmp_path, to_pixels).read())


@pytest.mark.parametrize("name", ["folder/1.png", "pages.tif"])
def test_frames_of_images_keep_their_transparency(tmp_path, name):
    levels = np.random.default_rng(0).integers(0, 256, (4, 6, 4)).astype(np.uint8)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    image = Image.fromarray(levels)
    image.save(tmp_path / name, **({"save_all": True, "append_images": [image]} if name == "pages.tif" else {}))
    found = videos.open_frames(tmp_path / name.partition("/")[0], lambda frames: frames.movedim(-1, 1))
    assert found.shape == (4, 2 if name == "pages.tif" else 1, 4, 6)
    frame = next(iter(found.read()))[:, 0]
    assert np.array_equal((frame.movedim(0, -1) * 255).round().numpy(), levels)
