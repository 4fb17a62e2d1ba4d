"""Core nodes of videos, sound and texts, headless and in a real ComfyUI: the same files, as far as codecs allow."""

import shutil
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_vae import headless
from exact_vae.vae_core import videos
from PIL import Image
from safetensors.torch import load_file
from support.beside_core import assert_same_pixels, files_of, node, run_both

av = pytest.importorskip("av")
RATE, SIDE = 8, 64
EDGES = [(0.4, 0.8), (0.05, 0.2), (0.01, 0.99)]
ANEW = "format.codec.encoding"
# Name -> (format, codec, how it is encoded, bits)
WRITTEN = {
    "usual": ("auto", "auto", {}, 8),
    "mkv": ("mkv", "h264", {}, 8),
    "ten bits": ("mp4", "h264", {}, 10),
    "h264": ("mp4", "h264", {"crf": 9.0, "color_space": "auto"}, 8),
    "h264 hlg": ("mp4", "h264", {"crf": 9.0, "color_space": "HDR"}, 8),
    "h264 pq": ("mkv", "h264", {"crf": 9.0, "color_space": "HDR PQ"}, 10),
    "av1": ("mp4", "av1", {}, 8),
    "av1 lossless": ("mp4", "av1", {"crf": 0.0, "color_space": "sRGB"}, 8),
    "webm": ("webm", "auto", {}, 10),
    "webm pq": ("webm", "av1", {"crf": 20.0, "color_space": "HDR PQ"}, 8),
}
PARTS = [
    (0.25, 0.5, True),
    (0.3, 0.2, False),
    (-0.5, 0.0, False),
    (0.0, 0.6, True),
    (0.7, 5.0, False),
    (0.0, 0.0, True),
]
SOUNDS = {
    "flac": ("SaveAudio", {}),
    **{f"mp3 {q}": ("SaveAudioMP3", {"quality": q}) for q in ("V0", "128k", "320k")},
    "opus": ("SaveAudioOpus", {"quality": "96k"}),
    "advanced flac": ("SaveAudioAdvanced", {"format": "flac"}),
    "advanced mp3": ("SaveAudioAdvanced", {"format": "mp3", "format.quality": "128k"}),
    "advanced opus": ("SaveAudioAdvanced", {"format": "opus", "format.quality": "64k"}),
}


@pytest.fixture(scope="module")
def media(server) -> dict:
    """A sound of two channels, pictures, a clip, and nodes that read them."""
    folder = server.base / "input"
    time = np.arange(24000) / 24000
    samples = np.stack([np.sin(1500 * time), np.cos(900 * time)], 1) * 20000
    with wave.open(str(folder / "tone.wav"), "wb") as file:
        file.setparams((2, 2, 24000, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    coarse.resize((97, 71), Image.Resampling.BICUBIC).save(folder / "picture.png")
    strokes = np.zeros((71, 97, 4), np.uint8)
    strokes[20:50, 30:60] = (255, 80, 0, 140)
    Image.fromarray(strokes).save(folder / "strokes.png")
    for name, codec in (("clip.mp4", "h264"), ("deep.mp4", "h265"), ("clip.webm", "vp9")):
        _write_clip(folder / name, codec)
    return {
        "tone": node("LoadAudio", audio="tone.wav"),
        "picture": node("LoadImage", image="picture.png"),
        "clip": node("LoadVideo", file="clip.mp4"),
    }


def _write_clip(path: Path, codec: str) -> None:
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE * 2 - 1
    frames = [np.stack([np.sin(3 * x + i / 3), np.cos(2 * y + i / 5), x * y]) * 0.9 for i in range(RATE)]
    sound = path.with_name("tone.mkv")
    waveform = torch.sin(torch.arange(48000) / 17)[None] / 2
    videos.write_sound(sound, waveform, 48000, videos.SoundEncoding("libopus" if path.suffix == ".webm" else "aac"))
    with videos.VideoFile(path, videos.choose_encoding(path, codec, 9), RATE, sound) as file:
        file.put(torch.from_numpy(np.stack(frames, 1)).float())
    sound.unlink()


def made_video(bits: int = 8) -> dict:
    """Five frames of a clip, with sound."""
    return {
        "parts": node("GetVideoComponents", video=["clip", 0]),
        "few": node("ImageFromBatch", image=["parts", 0], batch_index=0, length=5),
        "video": node("CreateVideo", images=["few", 0], fps=8.0, audio=["tone", 0], bit_depth=bits),
    }


def look(path: Path) -> dict:
    """What a file says, and its frames in RGB as numbers of 16 bits."""
    with av.open(str(path)) as file:
        stream, context = file.streams.video[0], file.streams.video[0].codec_context
        frames = [one.reformat(format="rgb48le", interpolation=4).to_ndarray() for one in file.decode(stream)]
        colours = [int(one) for one in (context.color_primaries, context.color_trc, context.colorspace)]
        return {
            "codec": stream.codec.canonical_name,
            "pixels": context.pix_fmt,
            "rate": Fraction(stream.average_rate),
            "colours": colours,
            "range": int(context.color_range),
            "sounds": [(one.codec.canonical_name, one.layout.nb_channels, one.rate) for one in file.streams.audio],
            "texts": "prompt" in {name.lower() for name in file.metadata},
            "frames": np.stack(frames),
        }


def assert_same_video(their: Path, our: Path, most: float) -> None:
    """most: of the mean difference of the frames, as a part of white."""
    theirs, ours = look(their), look(our)
    apart = np.abs(theirs.pop("frames").astype(float) - (frames := ours.pop("frames"))).mean() / 65535
    assert their.suffix == our.suffix and frames.shape[0] and apart < most, apart
    if our.suffix == ".mkv":  # sound is lossless here
        theirs["sounds"] = [("flac", *one[1:]) for one in theirs["sounds"]]
    assert theirs == ours


@pytest.mark.parametrize("name", WRITTEN)
def test_videos_of_images(server, media, tmp_path, name):
    kind, codec, how, bits = WRITTEN[name]
    options = {ANEW: "re-encode", **{f"{ANEW}.{one}": value for one, value in how.items()}} if how else {}
    given = {"format": kind, "format.codec": codec, **options}
    graph = {
        **media,
        **made_video(bits),
        "save": node("SaveVideo", video=["video", 0], filename_prefix=f"v {name}", **given),
    }
    ((their, our),) = files_of(server, tmp_path, graph)
    assert their.name == our.name
    # Chroma at half the resolution is filtered in another way; codecs that lose more at their own quality add to it.
    assert_same_video(their, our, 0.02)


@pytest.mark.parametrize("file", ["clip.mp4", "deep.mp4", "clip.webm"])
@pytest.mark.parametrize("given", [("auto", "auto"), ("mp4", "h264"), ("webm", "auto")])
def test_files_of_videos(server, media, tmp_path, file, given):
    kind, codec = given
    saved = node("SaveVideo", video=["video", 0], filename_prefix="f", **{"format": kind, "format.codec": codec})
    ((their, our),) = files_of(server, tmp_path, {"video": node("LoadVideo", file=file), "save": saved})
    theirs, ours = look(their), look(our)
    told = ("codec", "pixels", "rate", "colours", "texts")
    assert {one: theirs[one] for one in told} == {one: ours[one] for one in told}
    assert theirs["frames"].shape == ours["frames"].shape


def test_a_graph_from_before_formats_had_their_own_codecs(server, media, tmp_path):
    saved = node("SaveVideo", video=["clip", 0], filename_prefix="old", format="mkv", codec="av1")
    ((their, our),) = files_of(server, tmp_path, {"clip": media["clip"], "save": saved})
    assert_same_video(their, our, 0.02)


def test_what_a_choice_needs(server, media, tmp_path):
    how = {"format": "mp4", "format.codec": "h264", ANEW: "re-encode", f"{ANEW}.crf": 5.0}
    graph = {"clip": media["clip"], "save": node("SaveVideo", video=["clip", 0], filename_prefix="no", **how)}
    with pytest.raises(AssertionError, match="Required input is missing: color_space"):
        server.prompt(graph)
    report = headless.check(headless.parse(graph), headless.core_nodes(server.base / "input", tmp_path, tmp_path, {}))
    (problem,) = report.node_errors["save"]["errors"]
    assert (problem["details"], problem["extra_info"]["input_name"]) == ("color_space", f"{ANEW}.color_space")


@pytest.mark.parametrize("file", ["clip.mp4", "deep.mp4", "clip.webm"])
def test_parts_of_videos(server, tmp_path, file):
    graph = {"video": node("LoadVideo", file=file), "made": node("GetVideoComponents", video=["video", 0])}
    shown = {f"show{i}": node("PreviewAny", source=["made", i]) for i in (2, 3, 4)}
    sound = node("SaveAudio", audio=["made", 1], filename_prefix="parts")
    theirs, ours = run_both(server, tmp_path, {**graph, **shown, "sound": sound})
    assert {one: theirs[one]["text"] for one in shown} == {one: list(ours[one]["text"]) for one in shown}
    assert_same_sound(*places(server, tmp_path, theirs, ours, "sound"))
    image = node("SaveImage", images=["made", 0], filename_prefix="parts")
    for their, our in files_of(server, tmp_path, {**graph, "save": image}):
        apart = np.abs(np.asarray(Image.open(their)).astype(int) - np.asarray(Image.open(our)))
        assert apart.mean() < 2, apart.mean()


@pytest.mark.parametrize("part", PARTS, ids=str)
@pytest.mark.parametrize("of", ["clip", "video"])
def test_cut_videos(server, media, tmp_path, part, of):
    """Of a file, and of images: what is left of both is as long."""
    start, length, strict = part
    cut = node("Video Slice", video=[of, 0], start_time=start, duration=length, strict_duration=strict)
    graph = {**media, **made_video(), "cut": cut, "made": node("GetVideoComponents", video=["cut", 0])}
    size = node("GetImageSize", image=["made", 0])
    shown = {**graph, "size": size, "count": node("PreviewAny", source=["size", 2]),
             "sound": node("SaveAudio", audio=["made", 1], filename_prefix="cut")}  # fmt: skip
    if of == "video" and start + length > 5 / RATE:
        with pytest.raises(AssertionError, match="Failed to slice"):
            run_both(server, tmp_path, shown)
        return
    theirs, ours = run_both(server, tmp_path, shown)
    assert list(theirs["count"]["text"]) == list(ours["count"]["text"])
    (their, _), (our, _) = (hear(one) for one in places(server, tmp_path, theirs, ours, "sound"))
    assert their.shape[0] == our.shape[0] and abs(their.shape[1] - our.shape[1]) <= 1024  # a frame of AAC


def places(server, folder: Path, theirs: dict, ours: dict, name: str) -> tuple[Path, Path]:
    (their,), (our,) = theirs[name]["audio"], ours[name]["audio"]
    assert their["filename"].partition("_")[0] == our["filename"].partition("_")[0]
    return server.base / "output" / their["subfolder"] / their["filename"], folder / our["subfolder"] / our["filename"]


def hear(path: Path) -> tuple[torch.Tensor, int]:
    found = videos.read_sound(path)
    assert found
    return found


def assert_same_sound(their: Path, our: Path) -> None:
    (theirs, rate), (ours, other) = hear(their), hear(our)
    assert rate == other and torch.equal(theirs, ours)


@pytest.mark.parametrize("name", SOUNDS)
def test_sound(server, media, tmp_path, name):
    """Sample for sample. Opus has another rate, to which core resamples with torchaudio."""
    kind, inputs = SOUNDS[name]
    saved = node(kind, audio=["tone", 0], filename_prefix=f"tones/{name}", **inputs)
    ((their, our),) = files_of(server, tmp_path, {"tone": media["tone"], "save": saved}, "audio")
    assert their.name == our.name
    assert_same_sound(their, our)


@pytest.mark.parametrize("name", ["tone.wav", "clip.mp4", "clip.webm"])
def test_sound_of_files(server, media, tmp_path, name):
    graph = {"tone": node("LoadAudio", audio=name), "save": node("SaveAudio", audio=["tone", 0], filename_prefix="l")}
    ((their, our),) = files_of(server, tmp_path, graph, "audio")
    assert_same_sound(their, our)


@pytest.mark.parametrize("low, high", EDGES)
def test_edges(server, media, tmp_path, low, high):
    made = node("Canny", image=["picture", 0], low_threshold=low, high_threshold=high)
    assert_same_pixels(server, tmp_path, {"picture": media["picture"], "made": made})


@pytest.mark.parametrize("crf", [0, 1, 35, 100])
def test_images_as_a_video_would_have_them(server, media, tmp_path, crf):
    made = node("LTXVPreprocess", image=["picture", 0], img_compression=crf)
    assert_same_pixels(server, tmp_path, {"picture": media["picture"], "made": made})


@pytest.mark.parametrize("given", [{}, {"mask": "strokes.png"}, {"mask": "strokes.png", "image": ["picture", 0]}])
def test_what_was_painted(server, media, tmp_path, given):
    made = node("Painter", **{"mask": "", "width": 128, "height": 64, "bg_color": "#40A0f0", **given})
    graph = {"picture": media["picture"], "made": made}
    assert_same_pixels(server, tmp_path, graph)
    assert_same_pixels(server, tmp_path, {**graph, "paint": made, "made": node("MaskToImage", mask=["paint", 1])})


def test_an_image_of_the_output_folder(server, media, tmp_path):
    shutil.copy(server.base / "input" / "picture.png", server.base / "output" / "earlier.png")
    shutil.copy(server.base / "input" / "picture.png", tmp_path / "earlier.png")
    assert_same_pixels(server, tmp_path, {"made": node("LoadImageOutput", image="earlier.png [output]")})


def test_two_images_beside_each_other(server, media, tmp_path):
    other = node("ImageInvert", image=["picture", 0])
    compared = node("ImageCompare", compare_view="", image_a=["picture", 0], image_b=["other", 0])
    theirs, ours = run_both(server, tmp_path, {"picture": media["picture"], "other": other, "compare": compared})
    assert set(theirs["compare"]) == set(ours["compare"]) == {"a_images", "b_images"}
    for name, given in theirs["compare"].items():
        (their,), (our,) = given, ours["compare"][name]
        assert their["type"] == our["type"] == "temp"
        images = [Image.open(base / one["filename"]) for base, one in ((server.base / "temp", their), (tmp_path, our))]
        assert np.array_equal(*map(np.asarray, images))


@pytest.mark.parametrize("kind", ["txt", "csv", "md", "json"])
def test_a_text(server, tmp_path, kind):
    text = node("PrimitiveStringMultiline", value="one\n\u00e4\ttwo\r\n")
    graph = {"text": text, "save": node("SaveText", text=["text", 0], filename_prefix=f"texts/{kind}", format=kind)}
    ((their, our),) = files_of(server, tmp_path, graph, "files")
    assert their.name == our.name and their.read_bytes() == our.read_bytes()


@pytest.mark.parametrize("kind, seconds", [("EmptyAceStepLatentAudio", 33.3), ("EmptyAceStep1.5LatentAudio", 10.02)])
def test_empty_latents_of_sound(server, tmp_path, kind, seconds):
    made = node(kind, seconds=seconds, batch_size=2)
    assert_same_latents(server, tmp_path, {"made": made}, 0)


@pytest.mark.parametrize("slot", [0, 1])
@pytest.mark.parametrize("again", [False, True])
def test_a_clip_and_its_sound(server, tmp_path, slot, again):
    """Joined and parted; joined with a longer sound, which is cut."""
    graph = {
        "clip": node("EmptyLTXVLatentVideo", width=64, height=64, length=9, batch_size=1),
        "sound": node("EmptyAceStep1.5LatentAudio", seconds=2.0, batch_size=1),
        "longer": node("EmptyAceStep1.5LatentAudio", seconds=3.0, batch_size=1),
        "once": node("LTXVConcatAVLatent", video_latent=["clip", 0], audio_latent=["sound", 0]),
        "twice": node("LTXVConcatAVLatent", video_latent=["once", 0], audio_latent=["longer", 0]),
        "made": node("LTXVSeparateAVLatent", av_latent=["twice" if again else "once", 0]),
    }
    assert_same_latents(server, tmp_path, graph, slot)


def assert_same_latents(server, folder: Path, graph: dict, slot: int) -> None:
    saved = {**graph, "save": node("SaveLatent", samples=["made", slot], filename_prefix="media")}
    ((their, our),) = files_of(server, folder, saved, "latents")
    assert torch.equal(*(load_file(one)["latent_tensor"] for one in (their, our)))
