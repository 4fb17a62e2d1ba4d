"""Core nodes of videos: made of images, saved, read again, copied with other texts, given to the pack's own nodes."""

import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from exact_vae.headless import Graph, check, run
from exact_vae.headless.core.videos import Video
from exact_vae.nodes.host import find_video
from exact_vae.vae_core.errors import BadPixels, BadRequest
from PIL import Image

av = pytest.importorskip("av")
FRAMES = torch.linspace(0, 1, 5)[:, None, None, None].repeat(1, 16, 24, 3)
SOUND = {"waveform": torch.sin(torch.arange(4000) / 9)[None, None] / 2, "sample_rate": 8000}
AUTO = {"format": "auto", "codec": "auto"}


def save(nodes, video, format=AUTO, **texts):
    (shown,) = nodes["SaveVideo"]().run(video, "video/x", format, **texts)["ui"]["images"]
    return nodes["LoadVideo"].folders.output / shown["subfolder"] / shown["filename"]


def recode(format, codec, space, crf):
    how = {"encoding": "re-encode", "crf": crf, "color_space": space}
    return {"format": format, "codec": {"codec": codec, "encoding": how}}


def test_a_video_comes_back(nodes):
    (video,) = nodes["CreateVideo"]().run(FRAMES, 8.0, SOUND)
    path = save(nodes, video, prompt={"1": {}})
    assert path.name == "x_00001_.mp4"
    (read,) = nodes["LoadVideo"]().run(f"video/{path.name} [output]")
    images, audio, rate, bits, space = nodes["GetVideoComponents"]().run(read)
    assert images.shape == FRAMES.shape and (images - FRAMES).abs().max() < 0.02
    assert (rate, bits, space) == (8.0, 8, "sRGB")
    assert audio["sample_rate"] == 8000 and audio["waveform"].shape[:2] == (1, 1)
    assert abs(audio["waveform"][0, 0, 500:3000].std() - 0.5 / 2**0.5) < 0.02
    (heard,) = nodes["LoadAudio"]().run(f"video/{path.name} [output]")
    assert torch.equal(heard["waveform"], audio["waveform"])


def test_a_gif_is_a_video_without_its_transparency(nodes, tmp_path):
    levels = np.zeros((16, 24, 4), np.uint8)
    levels[:, :12] = 255
    first, *more = (Image.fromarray(np.roll(levels, 3 * n, 1)) for n in range(3))
    first.save(tmp_path / "x.gif", save_all=True, append_images=more, disposal=2)
    images = nodes["GetVideoComponents"]().run(Video(tmp_path / "x.gif"))[0]
    assert images.shape == (3, 16, 24, 3) and images[0, 0, 0].tolist() == [1, 1, 1]


def test_a_file_is_copied_bit_by_bit_with_texts_of_this_graph(nodes):
    from exact_vae.headless.embedded import read_embedded

    first = save(nodes, *nodes["CreateVideo"]().run(FRAMES, 8.0, SOUND), prompt={"1": {}})
    for format, suffix in (("auto", ".mp4"), ("mkv", ".mkv")):
        other = save(nodes, Video(first), {"format": format, "codec": {"codec": "auto"}}, prompt={"2": {}})
        assert other.suffix == suffix and json.loads(read_embedded(other)["prompt"]) == {"2": {}}
        ours, theirs = Video(first).get_components(), Video(other).get_components()
        assert torch.equal(ours.images, theirs.images)
        # Matroska has no word for the samples that AAC decodes before the first, so they are heard there.
        assert torch.equal(ours.audio["waveform"], theirs.audio["waveform"]) or suffix == ".mkv"


def test_a_graph_with_choices_within_choices(nodes):
    graph = Graph()
    made = graph.add(
        "CreateVideo", images=graph.add("EmptyImage", width=16, height=16, batch_size=3, color=255), fps=4.0
    )
    inner = {"format.codec": "h264", "format.codec.encoding": "re-encode", "format.codec.encoding.crf": 9.0,
             "format.codec.encoding.color_space": "auto"}  # fmt: skip
    saved = graph.add("SaveVideo", video=made, filename_prefix="y", format="mkv", **inner)
    (shown,) = run(graph, nodes).outputs[saved.id]["images"]
    assert shown["filename"] == "y_00001_.mkv"


def test_choices_that_are_missing(nodes):
    """A codec may be, as in graphs from before formats had their own; what a choice brings may not."""
    graph = Graph()
    made = graph.add("CreateVideo", images=graph.add("EmptyImage", width=16, height=16, batch_size=2, color=9), fps=4.0)
    graph.add("SaveVideo", id="s", video=made, filename_prefix="z", format="mkv", codec="av1")
    shown = run(graph, nodes).outputs["s"]["images"][0]["filename"]
    facts = Video(nodes["LoadVideo"].folders.output / shown).facts
    assert facts.codec == "av1" and "matroska" in facts.container
    how = {"codec": "h264", "codec.encoding": "re-encode", "codec.encoding.crf": 5.0}
    graph.add("SaveVideo", how, id="t", video=made, filename_prefix="z", format="mp4")
    assert [one["details"] for one in check(graph, nodes).node_errors["t"]["errors"]] == ["color_space"]


def test_the_pack_s_own_nodes_take_it(nodes):
    found = find_video(nodes["CreateVideo"]().run(FRAMES, 8.0)[0])
    assert torch.equal(found.images, FRAMES) and found.rate == Fraction(8) and found.audio is None


def test_what_is_no_video_is_refused(nodes, folders):
    (folders.input / "x.mp4").write_bytes(b"no video")
    assert nodes["LoadVideo"].INPUT_TYPES()["required"]["file"][0] == ["x.mp4"]
    with pytest.raises(BadPixels, match=r"x\.mp4' cannot be read as a video"):
        nodes["GetVideoComponents"]().run(Video(folders.input / "x.mp4"))
    with pytest.raises(BadRequest, match="this input needs a VIDEO, not int"):
        nodes["GetVideoComponents"]().run(3)
    assert nodes["LoadVideo"].VALIDATE_INPUTS(file="y.mp4").startswith("Invalid video file: y.mp4 (there is no file")
    with pytest.raises(BadRequest, match="a webm file holds av1, not h264: take mp4 or mkv, or codec av1"):
        save(nodes, Video(None), {"format": "webm", "codec": {"codec": "h264"}})


@pytest.mark.parametrize(
    ("format", "bits", "codec", "pixels", "colours"),
    [
        ({"format": "mp4", "codec": {"codec": "h264"}}, 8, "h264", "yuv420p", (1, 13, 1)),
        ({"format": "mkv", "codec": {"codec": "h264"}}, 10, "h264", "yuv420p10le", (1, 13, 1)),
        ({"format": "webm", "codec": "auto"}, 8, "av1", "yuv420p", (1, 13, 1)),
        (recode("mp4", "h264", "HDR", 5.0), 8, "h264", "yuv420p10le", (9, 18, 9)),
        (recode("webm", "av1", "HDR PQ", 0.0), 8, "av1", "yuv420p10le", (9, 16, 9)),
    ],
)
def test_codecs_depths_and_colours(nodes, format, bits, codec, pixels, colours):
    (video,) = nodes["CreateVideo"]().run(FRAMES, 8.0, SOUND, bits)
    path = save(nodes, video, format)
    assert path.suffix == f".{format['format']}"
    with av.open(str(path)) as file:
        context = file.streams.video[0].codec_context
        assert (file.streams.video[0].codec.canonical_name, context.pix_fmt) == (codec, pixels)
        assert (context.color_primaries, context.color_trc, context.colorspace) == colours
    images, sound, _, depth, space = nodes["GetVideoComponents"]().run(Video(path))
    assert images.shape == FRAMES.shape and (images - FRAMES).abs().max() < 0.03 and sound is not None
    assert depth == (10 if "10" in pixels else 8)
    assert space == {13: "sRGB", 18: "HDR", 16: "HDR PQ"}[colours[1]]


def test_ten_bits_show_more_than_256_greys(nodes):
    ramp = torch.linspace(0.2, 0.3, 256)[None, None, :, None].expand(1, 16, -1, 3)
    greys = []
    for bits in (8, 10):
        (video,) = nodes["CreateVideo"]().run(ramp, 8.0, None, bits)
        (images, *_) = nodes["GetVideoComponents"]().run(Video(save(nodes, video, recode("mp4", "h264", "auto", 1.0))))
        greys.append(len(images[0, 8, :, 1].unique()))
    assert greys[0] < 40 < greys[1]


def test_what_a_file_says_is_kept_and_not_contradicted(nodes):
    (video,) = nodes["CreateVideo"]().run(FRAMES, 8.0, None)
    hdr = Video(save(nodes, video, recode("mp4", "h264", "HDR", 5.0)))
    again = Video(save(nodes, hdr, recode("mp4", "h264", "auto", 5.0)))
    assert (again.bit_depth, again.colour_space, again.facts.colours) == (10, "HDR", (9, 18, 9))
    with pytest.raises(BadRequest, match="said to be HDR, so it cannot be saved as sRGB: take auto or HDR"):
        save(nodes, hdr, recode("mp4", "h264", "sRGB", 5.0))


def cut(nodes, video, start, length, strict=False):
    return nodes["Video Slice"]().run(video, start, length, strict)[0]


@pytest.mark.parametrize(
    ("start", "length", "kept"),
    [(0.0, 0.0, range(5)), (0.25, 0.25, range(2, 4)), (0.3, 0.2, range(3, 4)), (-0.25, 0.0, range(3, 5))],
)
def test_a_part_of_a_file_is_that_of_its_images(nodes, start, length, kept):
    (video,) = nodes["CreateVideo"]().run(FRAMES, 8.0, SOUND)
    file = Video(save(nodes, video, recode("mkv", "h264", "auto", 1.0)))
    parts = [cut(nodes, one, start, length).get_components() for one in (video, file)]
    for part in parts:
        assert len(part.images) == len(kept)
        assert (part.images - FRAMES[list(kept)]).abs().max() < 0.02
        seconds = part.audio["waveform"].shape[-1] / 8000
        assert seconds == pytest.approx(length or (0.625 - start if start >= 0 else -start), abs=0.14)


def test_a_part_of_a_part_is_encoded_and_saved(nodes):
    file = Video(save(nodes, nodes["CreateVideo"]().run(FRAMES, 8.0, SOUND)[0]))
    part = cut(nodes, cut(nodes, file, 0.125, 0.0), 0.125, 0.25)
    assert not part.is_whole and find_video(part).path is None
    saved = Video(save(nodes, part))
    assert len(saved.get_components().images) == 2


@pytest.mark.parametrize(
    ("parts", "kept"),
    [
        ([(0.0, 0.25), (0.125, 0.5)], range(1, 5)),  # it goes on beyond the end of the first
        ([(0.25, 0.25), (-0.25, 0.0)], range(5)),  # and begins where that one begins
        ([(0.125, 0.25), (0.125, 0.0)], range(2, 5)),
        ([(0.0, 0.25), (0.0, 9.0)], range(5)),
    ],
)
def test_a_part_of_a_part_is_counted_from_the_whole(nodes, parts, kept):
    (made,) = nodes["CreateVideo"]().run(FRAMES, 8.0, SOUND)
    for video in (made, Video(save(nodes, made, recode("mkv", "h264", "auto", 1.0)))):
        for part in parts:
            video = cut(nodes, video, *part)
        assert (video.get_components().images - FRAMES[list(kept)]).abs().max() < 0.02
    with pytest.raises(BadRequest, match="no part of 9 s from 0 s"):
        cut(nodes, cut(nodes, made, 0.0, 0.25), 0.0, 9.0, strict=True)


@pytest.mark.parametrize("rate", [29.97, 7.3, 35.32095984593165, 24000 / 1001])
def test_rates_are_kept(nodes, rate):
    (video,) = nodes["CreateVideo"]().run(FRAMES, rate)
    assert nodes["GetVideoComponents"]().run(video)[2] == rate
    assert len(cut(nodes, video, 0.0, 5 / rate).get_components().images) == 5
    assert Video(save(nodes, video)).facts.rate == pytest.approx(rate, rel=1e-4)


def test_parts_that_are_not_there_are_refused(nodes):
    (video,) = nodes["CreateVideo"]().run(FRAMES, 8.0)
    with pytest.raises(BadRequest, match=r"the video is 0\.625 s long: there is no part of 0\.6 s from 0\.1 s on"):
        cut(nodes, video, 0.1, 0.6)
    with pytest.raises(BadRequest, match=r"0\.625 s long: from 0\.62 s on it has no frame"):
        cut(nodes, video, 0.62, 0.0)
    file = Video(save(nodes, video))
    assert cut(nodes, file, 0.1, 0.6).seconds < 0.6
    with pytest.raises(BadRequest, match="there is no part of 0"):
        cut(nodes, file, 0.1, 0.6, strict=True)
