"""A latent straight into a video, and a video straight into a latent."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from exact_vae.nodes import host, vae_decode_to_video_file
from exact_vae.nodes.host.host_vae import HostVAE
from exact_vae.nodes.images import to_pixels
from exact_vae.nodes.video_inputs import ClipInMemory
from exact_vae.vae_core import BadRequest, LatentMismatch, videos
from support.node_calls import call, latent, run_node, text
from support.small_networks import small

FRAMES = torch.rand(4, 20, 28, 3, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def wan():
    return small("wan", torch.float32)


def levels(frames):
    return ((frames + 1) * 127.5).round().to(torch.uint8)


def read(path):
    """Frames (T, H, W, 3) of 8 bits."""
    clip = videos.VideoFrames(Path(path), lambda image: to_pixels(image, 3))
    return levels(torch.cat(list(clip.read()), 1)).permute(1, 2, 3, 0), clip


def decode(samples, vae, prefix="clip", fps=24.0, codec="ffv1", **more):
    return run_node("ExactVAEDecodeToVideoFile", samples=samples, vae=vae, filename_prefix=prefix, fps=fps, codec=codec,
                    **more)  # fmt: skip


def tone(length=24000, rate=48000, channels=2):
    wave = torch.sin(torch.arange(length) * 440 * 6.2832 / rate) / 2
    return {"waveform": wave.expand(1, channels, -1).clone(), "sample_rate": rate}


def open_sound(path):
    av = pytest.importorskip("av")
    return av.open(str(path))


def test_it_is_what_decode_gives_and_goes_back(wan, folders):
    """Odd sizes and a number of frames that is no whole latent come back, bit for bit those of the images."""
    encoded = call("ExactVAEEncode", pixels=FRAMES, vae=wan)
    found = decode(encoded, wan, "sub/clip", 12.5)
    video, path = found["result"]
    assert path == str(folders / "out" / "sub" / "clip_00001_.mkv")
    assert found["ui"]["images"] == [{"filename": "clip_00001_.mkv", "subfolder": "sub", "type": "output"}]
    assert found["ui"]["animated"] == [True] and "saved as sub/clip_00001_.mkv" in found["ui"]["text"][0]
    seen, clip = read(host.find_video(video).path)
    assert clip.rate == Fraction(25, 2) and not clip.has_sound
    assert torch.equal(seen, (call("ExactVAEDecode", samples=encoded, vae=wan) * 255).to(torch.uint8))

    name = "sub/clip_00001_.mkv [output]"
    z, fps, frames = run_node("ExactVAEEncodeVideoFile", file=name, vae=wan)["result"]
    assert (fps, frames) == (12.5, 4) and z["exact_vae"]["frames"] == encoded["exact_vae"]["frames"]
    images = call("ExactVAEEncode", pixels=seen.float() / 255, vae=wan)
    assert torch.equal(z["samples"], images["samples"]) and z["exact_vae"]["size"] == (20, 28)
    assert torch.equal(call("ExactVAEEncodeVideoFile", file="none", vae=wan, video=video)["samples"], z["samples"])
    shown = text("ExactVAEEncodeVideoFile", file=name, vae=wan)
    assert "4 frames as one clip of 2 latent frames" in shown


def test_frames_are_images_to_a_vae_of_images(vae, folders):
    encoded = call("ExactVAEEncode", pixels=FRAMES, vae=vae)
    video, path = decode(encoded, vae)["result"]
    assert torch.equal(read(path)[0], (call("ExactVAEDecode", samples=encoded, vae=vae) * 255).to(torch.uint8))
    back = run_node("ExactVAEEncodeVideoFile", file="none", vae=vae, video=video)
    assert back["result"][0]["samples"].shape == encoded["samples"].shape
    assert "4 separate images" in back["ui"]["text"][0]
    drawn = {"file": "none", "vae": vae, "video": video, "posterior": "sample"}
    sampled = [call("ExactVAEEncodeVideoFile", **drawn, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(sampled[0]["samples"], sampled[1]["samples"])
    assert not torch.equal(sampled[0]["samples"], sampled[2]["samples"])


def test_separate_images_follow_one_another(wan, folders):
    encoded = call("ExactVAEEncode", pixels=FRAMES, vae=wan, frames="separate images")
    assert encoded["samples"].shape[:3] == (4, 4, 1)
    seen, _ = read(decode(encoded, wan)["result"][1])
    assert torch.equal(seen, (call("ExactVAEDecode", samples=encoded, vae=wan) * 255).to(torch.uint8))


@pytest.mark.parametrize("codec", videos.CODECS)
def test_every_codec_has_a_file(codec, vae, folders):
    _, path = decode(latent(1, 4, 4, 4), vae, codec=codec)["result"]
    assert path.endswith(vae_decode_to_video_file.choose_suffix(codec)) and len(read(path)[0]) == 1


@pytest.mark.parametrize("file_type", videos.SUFFIXES)
def test_sound_of_a_socket(file_type, vae, folders):
    """It ends with the frames."""
    codec = "vp9" if file_type == ".webm" else "h264"
    _, path = decode(latent(6, 4, 4, 4), vae, codec=codec, file_type=file_type, audio=tone())["result"]
    with open_sound(path) as container:
        (track,) = container.streams.audio
        samples = sum(frame.samples for frame in container.decode(track))
        assert track.codec_context.channels == 2
        assert samples / track.codec_context.sample_rate == pytest.approx(6 / 24, abs=0.15)


def test_the_graph_is_in_the_file(vae, folders):
    """From which the editor opens it again."""
    _, path = decode(latent(1, 4, 4, 4), vae, prompt={"1": {}}, extra_pnginfo={"workflow": {"nodes": []}})["result"]
    with open_sound(path) as container:
        texts = {name.lower(): text for name, text in container.metadata.items()}
    assert (texts["prompt"], texts["workflow"]) == ('{"1": {}}', '{"nodes": []}')


def test_sound_and_rate_of_the_source(vae, folders):
    """Copied as it is, packet by packet."""
    source, first = decode(latent(6, 4, 4, 4), vae, fps=10.0, audio=tone(rate=22050, channels=1))["result"]
    _, path = decode(latent(6, 4, 4, 4, seed=2), vae, source=source)["result"]
    assert read(path)[1].rate == 10
    packets = []
    for file in (first, path):
        with open_sound(file) as container:
            packets.append([bytes(one) for one in container.demux(container.streams.audio[0])])
    assert packets[0] == packets[1] and len(packets[0]) > 1


def test_a_video_that_is_no_file(wan, folders, monkeypatch):
    """Of images, or trimmed: the host gives the frames, in its own class."""

    class Components:
        images, frame_rate, audio = FRAMES, Fraction(8), tone()

    class Video:
        def get_components(self):
            return Components

    z, fps, frames = run_node("ExactVAEEncodeVideoFile", file="none", vae=wan, video=Video())["result"]
    assert (fps, frames) == (8.0, 4)
    assert torch.equal(z["samples"], call("ExactVAEEncode", pixels=FRAMES, vae=wan)["samples"])
    _, clip = read(decode(z, wan, source=Video())["result"][1])
    assert clip.rate == 8 and clip.has_sound


def test_what_is_wrong_is_said_and_leaves_nothing(vae, folders):
    good, out = latent(2, 4, 4, 4), folders / "out"
    for words, wrong in {
        "ffv1 has no quality": {"crf": 20},
        "a .mp4 file holds h264 or h265, not ffv1": {"file_type": ".mp4"},
        "needs a VIDEO, not int": {"source": 3},
        "audio needs AUDIO, not str": {"audio": "x"},
        "sound of 3 channels": {"audio": tone(channels=3)},
        "holds NaN": {"audio": {"waveform": torch.full((1, 1, 9), torch.nan), "sample_rate": 9}},
        "fps is 0.0: choose a number from 0.01": {"fps": 0.0},
        "no place in|outside|leaves": {"prefix": "../x"},
    }.items():
        with pytest.raises(BadRequest, match=words):
            decode(good, vae, **wrong)
    with pytest.raises(LatentMismatch, match="empty latent"):
        decode({"samples": torch.zeros(1, 4, 4, 4)}, vae)
    with pytest.raises(BadRequest, match="choose a file, or connect a video"):
        run_node("ExactVAEEncodeVideoFile", file="none", vae=vae)
    assert not out.exists() or not [path for path in out.iterdir() if path.is_file()]


def test_a_run_that_is_cancelled_leaves_no_file(vae, models, tmp_path):
    class Cancelled(BaseException):
        pass

    def cancel(done, total):
        if done > total / 2:
            raise Cancelled

    with host.surroundings(models, cancel, tmp_path / "out"), pytest.raises(Cancelled):
        decode(latent(4, 4, 4, 4), vae)
    assert not list((tmp_path / "out").iterdir())


def test_the_host_s_own_vae_takes_and_gives_all_frames():
    class Thing:
        output_channels, latent_channels = 3, 4

        def spacial_compression_encode(self):
            return 1

        spacial_compression_decode = spacial_compression_encode

        def encode(self, image):
            return image.movedim(-1, 0)[None]

        def decode(self, z):
            return z.movedim(1, -1)

    codec = HostVAE(Thing())
    clip = ClipInMemory(FRAMES, Fraction(24), None, lambda image: to_pixels(image, 3))
    z = codec.encode_frames(clip).mode()
    assert z.shape == (1, 3, 4, 20, 28)
    (frames,) = codec.decode_frames(z, size=(20, 28))
    assert torch.allclose(frames, FRAMES.permute(3, 0, 1, 2) * 2 - 1, atol=1e-6)
