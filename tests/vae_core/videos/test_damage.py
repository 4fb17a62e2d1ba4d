"""Videos that are cut off or damaged are told from whole ones, however odd; parts and copies have all their frames."""

import av
import numpy as np
import pytest
import torch
from exact_vae.vae_core import BadPixels, BadRequest, videos
from support.video_files import clip, find_frames, noise, read, to_pixels, write, write_with

CONTAINERS = {"mkv": "ffv1", "webm": "libvpx-vp9", "avi": "mpeg4", "mp4": "libx264", "ts": "libx264", "flv": "flv1"}


@pytest.mark.parametrize("ending", CONTAINERS)
@pytest.mark.parametrize("share", [0.6, 0.97])
def test_a_video_that_is_cut_off_is_no_shorter_clip(tmp_path, ending, share):
    path = write_with(CONTAINERS[ending], tmp_path / f"a.{ending}", noise(24))
    assert videos.open_frames(path, to_pixels).shape[1] == 24
    at, size = find_frames(path)[int(share * 24)]
    path.write_bytes(path.read_bytes()[: at + size // 2])
    with pytest.raises(BadPixels, match=r"is cut off: it has|is damaged\. Get|cannot be read as a video"):
        _ = videos.open_frames(path, to_pixels).shape


def test_half_a_download_with_its_index_at_the_front(tmp_path):
    """Frames and sound lie in turns behind the index, so most cuts fall between two frames."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream, track = container.add_stream("libx264", rate=24), container.add_stream("pcm_s16le", rate=48000)
        stream.height, stream.width, stream.pix_fmt, track.layout = 48, 64, "yuv420p", "mono"
        for number, frame in enumerate(((noise(24).movedim(0, -1) + 1) * 127.5).byte().numpy()):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 2000), np.int16), format="s16", layout="mono")
            sound.rate, sound.pts = 48000, 2000 * number
            container.mux(track.encode(sound))
        container.mux([*stream.encode(), *track.encode()])
    whole = path.read_bytes()
    assert read(path).shape[1] == 24
    for share in (0.3, 0.5, 0.7, 0.9, 0.97):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(BadPixels, match="is cut off: it has"):
            read(path)


def test_a_recording_that_was_never_closed_is_read(tmp_path):
    path = write(tmp_path / "a.mkv", clip(6), "ffv1")
    whole = bytearray(path.read_bytes())
    size = whole.index(b"\x18\x53\x80\x67") + 4  # of the segment: all ones say that nobody knows it
    whole[size : size + 8] = b"\x01" + b"\xff" * 7
    path.write_bytes(whole[:-200])
    assert 4 <= videos.open_frames(path, to_pixels).shape[1] <= 6


def test_what_was_written_to_a_pipe_says_no_length(tmp_path):
    path = write_with("mpeg4", tmp_path / "a.avi", noise(6))
    written = bytearray(path.read_bytes())
    written[4:8] = b"\xff" * 4
    path.write_bytes(written)
    assert read(path).shape[1] == 6


def test_an_element_before_the_segment(tmp_path):
    """Void elements, one of them empty, may lie there to be filled later."""
    whole = write(tmp_path / "a.mkv", clip(6), "ffv1").read_bytes()
    at = whole.index(b"\x18\x53\x80\x67")
    padded = whole[:at] + b"\xec\x80" + b"\xec\x84" + bytes(4) + whole[at:]
    (tmp_path / "b.mkv").write_bytes(padded[:-300])
    with pytest.raises(BadPixels, match="is cut off"):
        read(tmp_path / "b.mkv")


@pytest.mark.parametrize("ending", ["ts", "mp4", "mkv", "avi"])
@pytest.mark.parametrize("begins", [3, 10, 13, 20])
def test_a_part_has_all_its_frames(tmp_path, ending, begins):
    """The keyframe that is found may be shown after the part begins: frames before it may come later in the file."""
    name, options = ("mpeg4", {}) if ending == "avi" else ("libx264", {"x264-params": "open-gop=1:keyint=8:bframes=2"})
    path = write_with(name, tmp_path / f"a.{ending}", noise(24), options)
    with av.open(str(path)) as container:
        shown = [frame.time for frame in container.decode(video=0)]
    finer = 0.001 if ending == "avi" else -0.001  # AVI counts time in frames, and is cut to whole ones
    part = videos.Span(shown[begins] + finer, 6 / 24)
    found = torch.cat(list(videos.VideoFrames(path, to_pixels, part).read()), 1)
    assert torch.equal(found, read(path)[:, begins : begins + 6])


@pytest.mark.parametrize("codec", ["h264", "h265", "ffv1"])
@pytest.mark.parametrize("ending", [".mkv", ".mp4"])
def test_a_copy_has_all_frames(tmp_path, codec, ending):
    """In Matroska the first frames do not say when they are decoded, if others are shown before them."""
    source, copy = write(tmp_path / "a.mkv", clip(24), codec), tmp_path / f"b{ending}"
    if (codec, ending) == ("ffv1", ".mp4"):
        pytest.skip("MP4 does not hold FFV1")
    videos.copy_video(source, copy, ending, {})
    assert torch.equal(read(copy), read(source))


def test_a_frame_that_ffmpeg_has_guessed_is_refused(tmp_path):
    path = write(tmp_path / "a.mov", noise(24), "prores")
    whole = bytearray(path.read_bytes())
    at, size = find_frames(path)[12]
    middle = slice(at + size // 2, at + size // 2 + 300)
    whole[middle] = bytes(byte ^ 0x5A for byte in whole[middle])
    path.write_bytes(whole)
    with pytest.raises(BadPixels, match=r"a frame at 0\.\d\d s of .* is damaged"):
        list(videos.open_frames(path, to_pixels).read())


@pytest.mark.parametrize("codec", ["ffv1", "ffv1-16"])
def test_a_flipped_bit_in_a_lossless_video_is_found(tmp_path, codec):
    """FFmpeg shows the frame before instead, and says so in its log alone."""
    whole = write(tmp_path / "a.mkv", noise(6, 96, 96), codec).read_bytes()
    for at, size in find_frames(tmp_path / "a.mkv"):
        spoilt = bytearray(whole)
        spoilt[at + size // 2] ^= 4
        (tmp_path / "b.mkv").write_bytes(spoilt)
        with pytest.raises(BadPixels, match=r"a frame at 0\.\d\d s of .* is damaged"):
            list(videos.open_frames(tmp_path / "b.mkv", to_pixels).read())


@pytest.mark.parametrize(
    "options", [{"slicecrc": "0"}, {"level": "1"}, {"level": "4", "strict": "experimental"}], ids=str
)
def test_lossless_videos_of_other_programs(tmp_path, options):
    """Without checksums, of before there were any, and with those of version 4."""
    path = write_with("ffv1", tmp_path / "a.mkv", noise(6), options)
    assert read(path).shape == (3, 6, 48, 64)


def test_a_codec_that_nobody_knows(tmp_path):
    path = write_with("libx264", tmp_path / "a.mp4", noise(6))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1"))
    for work in (read, videos.read_facts, lambda path: videos.copy_video(path, tmp_path / "b.mp4", ".mp4", {})):
        with pytest.raises(BadPixels, match="is damaged, or of a kind that FFmpeg does not know here"):
            work(path)
    assert not (tmp_path / "b.mp4").exists()


def test_a_file_that_cannot_be_opened(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mkv", clip(2), "ffv1")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(BadRequest, match=r"cannot be read: Permission denied\."):
        videos.open_frames(path, to_pixels)


def test_what_lies_behind_the_boxes_is_no_box(tmp_path):
    path = write_with("libx264", tmp_path / "a.mp4", noise(6))
    path.write_bytes(path.read_bytes() + b"TAGSTitle of a song".ljust(128))
    assert read(path).shape[1] == 6
