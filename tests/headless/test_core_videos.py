"""Core nodes of videos: made of images, saved, read again, copied with other texts, given to the pack's own nodes."""

import json
from fractions import Fraction

import pytest
import torch
from exact_vae.headless import Graph, run
from exact_vae.headless.core.videos import Video
from exact_vae.nodes.host import find_video
from exact_vae.vae_core.errors import BadPixels, BadRequest

pytest.importorskip("av")
FRAMES = torch.linspace(0, 1, 5)[:, None, None, None].repeat(1, 16, 24, 3)
SOUND = {"waveform": torch.sin(torch.arange(4000) / 9)[None, None] / 2, "sample_rate": 8000}
AUTO = {"format": "auto", "codec": "auto"}


def save(nodes, video, format=AUTO, **texts):
    (shown,) = nodes["SaveVideo"]().run(video, "video/x", format, **texts)["ui"]["images"]
    return nodes["LoadVideo"].folders.output / shown["subfolder"] / shown["filename"]


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
