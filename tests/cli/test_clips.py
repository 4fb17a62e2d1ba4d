"""exact-vae encode and decode for clips: videos and folders of images, frame by frame."""

import weakref

import numpy as np
import pytest
import tifffile
import torch
from exact_vae.cli import clips, main
from exact_vae.headless import image_files
from exact_vae.nodes.images import to_pixels
from exact_vae.vae_core import load, readers, save, videos
from exact_vae.vae_core.latents import StoredLatent, read_latent, write_latent
from PIL import Image
from support.small_networks import small


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    path = tmp_path_factory.mktemp("wan") / "wan.safetensors"
    save(small("wan", torch.float32), path)
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "source.mkv"
    frames = torch.rand(3, 4, 20, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with videos.VideoFile(path, videos.choose_encoding(path, "ffv1"), 25) as file:
        file.put(frames)
    return path


def run(*arguments) -> int:
    return main([str(one) for one in arguments])


@pytest.fixture
def latent(wan, video, tmp_path):
    assert run("encode", video, tmp_path / "z.safetensors", "--vae", wan) == 0
    return tmp_path / "z.safetensors"


def test_a_video_and_back(wan, video, latent, tmp_path, capsys):
    """Four frames go in, two latent frames are kept, and four frames come back: bit for bit those of `decode`."""
    z, tag = read_latent(latent)
    frames = torch.cat(list(videos.open_frames(video, lambda image: to_pixels(image, 3)).read()), 1)
    vae = small("wan", torch.float32)
    assert z.shape == (1, 4, 2, 3, 4) and tag.frames == (2, 4) and tag.size == (20, 28)
    assert torch.equal(z, vae.encode(frames[None]).mode())
    assert run("decode", latent, tmp_path / "frames" / "%03d.png", "--vae", wan) == 0
    assert run("decode", latent, tmp_path / "out.mkv", "--vae", wan, "--codec", "ffv1", "--source", video) == 0
    assert "out.mkv: 4 frames of 28x20" in capsys.readouterr().out
    images = sorted((tmp_path / "frames").iterdir())
    assert [path.name for path in images] == ["001.png", "002.png", "003.png", "004.png"]
    truth = ((vae.decode(z, size=(20, 28))[0, :, :4] + 1) / 2 * 255).clamp(0, 255).to(torch.uint8)
    found = torch.stack([readers.read_first(path)[0].movedim(-1, 0) for path in images], 1)
    assert torch.equal((found * 255).round().to(torch.uint8), truth)
    back = videos.open_frames(tmp_path / "out.mkv", lambda image: to_pixels(image, 3))
    assert back.rate == 25 and torch.equal(
        ((torch.cat(list(back.read()), 1) + 1) * 127.5).round().to(torch.uint8), truth
    )


def test_frames_that_are_there_are_kept(wan, latent, tmp_path, capsys):
    out = tmp_path / "f_%d.png"
    assert run("decode", latent, out, "--vae", wan) == 0
    (tmp_path / "f_2.png").unlink()
    frame = (tmp_path / "f_3.png").read_bytes()
    (tmp_path / "f_4.png").write_bytes(b"")  # of a machine that lost its power
    assert run("decode", latent, out, "--vae", wan, "--resume") == 0
    assert "f_1.png to f_4.png: 4 images, 2 of them there before" in capsys.readouterr().out
    assert (tmp_path / "f_2.png").exists() and (tmp_path / "f_3.png").read_bytes() == frame
    assert (tmp_path / "f_4.png").stat().st_size


def test_files_that_are_no_frames_of_this_clip_are_refused_and_kept(wan, latent, tmp_path, capsys):
    Image.new("RGB", (7, 13)).save(tmp_path / "f_2.png")
    (tmp_path / "g_1.png").write_bytes(b"mine")
    for name, said in (("f", "is 7x13, and this clip's frames are 28x20"), ("g", "is no image, and this")):
        assert run("decode", latent, tmp_path / f"{name}_%d.png", "--vae", wan, "--resume") == 1
        assert said in capsys.readouterr().err
    assert (tmp_path / "g_1.png").read_bytes() == b"mine" and Image.open(tmp_path / "f_2.png").size == (7, 13)


def test_frames_are_images_to_a_vae_of_images(kl_file, video, tmp_path, capsys):
    assert run("encode", video, tmp_path / "z.safetensors", "--vae", kl_file) == 0
    assert read_latent(tmp_path / "z.safetensors")[0].shape[0] == 4
    assert run("decode", tmp_path / "z.safetensors", tmp_path / "a.mp4", "--vae", kl_file) == 0
    assert "a.mp4: 4 frames of 28x20" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("a.webm", "--codec", "h264"), "a .webm file holds vp9"),
        (("a.mp4", "--resume"), "a video cannot be resumed"),
        (("a.mp4", "--crf", "70"), "a crf is a number from 0"),
        (("a.xyz",), "has the ending of no image"),
        (("a_%d.png", "--fps", "24"), "--fps is for videos, and"),
        (("a_%d.png", "--codec", "h264"), "--codec is for videos, and"),
        (("a.tif", "--codec", "h264"), "--codec is for videos, and"),
        (("a.tif", "--resume"), "a TIFF file cannot be resumed"),
        (("a_%d.png", "--bits", "32"), "can hold 8 or 16 bits a channel, not 32"),
        (("a_%d.jpg", "--bits", "16"), "can hold 8 bits a channel, not 16"),
        (("a.mp4", "--bits", "16"), "--bits is for images, and"),
    ],
)
def test_what_is_refused_leaves_nothing(wan, latent, tmp_path, capsys, more, words):
    assert run("decode", latent, tmp_path / more[0], "--vae", wan, *more[1:]) == 1
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [latent.name]


def test_one_image_is_written_by_its_pattern(kl_file, tmp_path, capsys):
    write_latent(tmp_path / "z.safetensors", torch.zeros(1, 4, 2, 2))
    assert run("decode", tmp_path / "z.safetensors", tmp_path / "%03d.png", "--vae", kl_file) == 0
    assert "001.png: 1 image\n" in capsys.readouterr().out
    assert [path.name for path in tmp_path.glob("*.png")] == ["001.png"]


@pytest.mark.parametrize("more", [("--fps", "24"), ("--crf", "0"), ("--source", "none.mp4"), ("--resume",)])
def test_options_of_clips_are_refused_for_an_image(kl_file, tmp_path, capsys, more):
    write_latent(tmp_path / "z.safetensors", torch.zeros(1, 4, 2, 2))
    assert run("decode", tmp_path / "z.safetensors", tmp_path / "a.png", "--vae", kl_file, *more) == 1
    assert f"{more[0]} is for clips, and" in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()


def test_a_source_is_not_overwritten(wan, latent, tmp_path, capsys):
    source = tmp_path / "source.mp4"
    source.write_bytes(b"mine")
    assert run("decode", latent, source, "--vae", wan, "--source", source) == 1
    assert "is an input of this command" in capsys.readouterr().err and source.read_bytes() == b"mine"


def test_a_pattern_is_not_a_folder(wan, tmp_path, capsys):
    assert run("encode", tmp_path / "%05d.png", tmp_path / "z.safetensors", "--vae", wan) == 1
    assert f"give their folder, '{tmp_path}'" in capsys.readouterr().err


def test_the_image_of_several_latents_is_decoded(kl_file, tmp_path, capsys):
    sound, image = StoredLatent(torch.zeros(1, 8, 16)), StoredLatent(torch.zeros(1, 4, 2, 2))
    write_latent(tmp_path / "z.safetensors", sound.latent, beside=[image])
    assert run("decode", tmp_path / "z.safetensors", tmp_path / "a.png", "--vae", kl_file) == 0
    assert "holds 2 latents; number 2 is decoded" in capsys.readouterr().err


@pytest.mark.parametrize("rate", ["0", "-1", "24/0", "fast", "9" * 40])
def test_rates_that_are_none(wan, latent, tmp_path, capsys, rate):
    with pytest.raises(SystemExit):
        run("decode", latent, tmp_path / "a.mp4", "--vae", wan, "--fps", rate)
    assert "frames a second are a number" in capsys.readouterr().err


def decoded(latent) -> torch.Tensor:
    """The frames as IMAGE (4, 20, 28, 3), which may leave [0, 1]; in parts, as they come into a file."""
    z, _ = read_latent(latent)
    pixels = small("wan", torch.float32).decode(z, size=(20, 28), rows=1000)[0, :, :4]
    return ((pixels + 1) / 2).permute(1, 2, 3, 0)


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_a_clip_in_the_pages_of_a_tiff_and_back(wan, latent, tmp_path, capsys, bits):
    out = tmp_path / "out.tif"
    assert run("decode", latent, out, "--vae", wan, "--bits", bits) == 0
    assert "out.tif: 4 pages" in capsys.readouterr().out
    truth, found = decoded(latent), torch.from_numpy(tifffile.imread(out).astype("float64"))
    wanted = {8: (truth * 255).clamp(0, 255).floor(), 16: (truth.double().clamp(0, 1) * 65535).round(), 32: truth}
    assert torch.equal(found, wanted[bits].double())
    assert run("encode", out, tmp_path / "back.safetensors", "--vae", wan) == 0
    frames = found.float() / (1 if bits == 32 else 2**bits - 1)
    z, tag = read_latent(tmp_path / "back.safetensors")
    again = small("wan", torch.float32).encode(to_pixels(frames, 3).transpose(0, 1)[None], rows=1000).mode()
    assert tag.frames == (2, 4) and torch.equal(z, again)


@pytest.mark.parametrize(("bits", "error"), [(32, 2e-6), (16, 1e-3)])
def test_a_clip_in_exr_files_and_back(wan, latent, tmp_path, capsys, bits, error):
    """OpenEXR holds light; read back, it is what was decoded, beyond white and below black too."""
    OpenEXR = pytest.importorskip("OpenEXR")
    out = tmp_path / "frames" / "%03d.exr"
    assert run("decode", latent, out, "--vae", wan, "--bits", bits) == 0
    (tmp_path / "frames" / "002.exr").unlink()
    assert run("decode", latent, out, "--vae", wan, "--bits", bits, "--resume") == 0
    assert "4 images, 3 of them there before" in capsys.readouterr().out
    truth = decoded(latent)
    light = OpenEXR.File(str(tmp_path / "frames" / "002.exr")).channels()["RGB"].pixels
    grey = truth[1].clamp(min=0.05).double()
    curve = ((grey + 0.055) / 1.055) ** 2.4
    assert light.dtype.itemsize * 8 == bits
    assert ((torch.from_numpy(light).double() - curve).abs() * (truth[1] >= 0.05)).max() < error * curve.max()
    assert run("encode", tmp_path / "frames", tmp_path / "back.safetensors", "--vae", wan) == 0
    found = torch.cat(list(videos.open_frames(tmp_path / "frames", lambda image: image.movedim(-1, 1)).read()), 1)
    assert (found.permute(1, 2, 3, 0) - truth).abs().max() < error * truth.abs().max()
    assert read_latent(tmp_path / "back.safetensors")[1].frames == (2, 4)


def test_memory_does_not_grow_with_the_pages(tmp_path):
    """A stack is written and read one page at a time: frames that are done are no longer kept."""
    path, kept = tmp_path / "a.tif", []
    with clips.TiffPages(path, 8, 12 * 3 * 64 * 64) as pages:
        for i in range(12):
            frame = torch.full((3, 1, 64, 64), i / 12)
            kept.append(weakref.ref(frame))
            pages.put(frame)
    del frame
    assert not any(one() is not None for one in kept)
    seen = []
    for frame in videos.open_frames(path, lambda image: to_pixels(image, 3)).read():
        seen.append(weakref.ref(frame))
        assert sum(one() is not None for one in seen) <= 2
    assert len(seen) == 12


def test_pages_of_several_sizes_are_no_clip(wan, tmp_path, capsys):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for size in ((16, 16, 3), (16, 24, 3)):
            file.write(np.zeros(size, np.uint8), photometric="rgb")
    assert run("encode", tmp_path / "a.tif", tmp_path / "z.safetensors", "--vae", wan) == 1
    assert "image 2 of '" in (said := capsys.readouterr().err) and "is 24x16, but the first is 16x16" in said
    assert not (tmp_path / "z.safetensors").exists()


def test_a_moving_image_is_a_clip(wan, tmp_path):
    frames = [Image.fromarray(np.full((16, 24, 3), 40 * i, np.uint8)) for i in range(5)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert run("encode", tmp_path / "a.gif", tmp_path / "z.safetensors", "--vae", wan) == 0
    assert read_latent(tmp_path / "z.safetensors")[1].frames == (2, 5)


@pytest.mark.parametrize(("name", "bits"), [("a.tif", 16), ("a.tif", 32), ("a.png", 16)])
def test_an_image_of_more_bits(kl_file, tmp_path, name, bits):
    write_latent(tmp_path / "z.safetensors", torch.randn(1, 4, 2, 3, generator=torch.Generator().manual_seed(0)))
    assert run("decode", tmp_path / "z.safetensors", tmp_path / name, "--vae", kl_file, "--bits", bits) == 0
    truth = (load(kl_file).decode(read_latent(tmp_path / "z.safetensors")[0])[0].movedim(0, -1) + 1) / 2
    wanted = truth if bits == 32 else (truth.double().clamp(0, 1) * 65535).round().float() / 65535
    assert torch.equal(readers.read_first(tmp_path / name)[0], wanted)


def test_an_exr_that_cannot_be_written_is_told_before(kl_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(image_files, "find_spec", lambda name: None)
    write_latent(tmp_path / "z.safetensors", torch.zeros(1, 4, 2, 2))
    for name, words in (("a.exr", "pip install OpenEXR"), ("a.png", "pip install imagecodecs")):
        arguments = ("decode", tmp_path / "z.safetensors", tmp_path / name, "--vae", kl_file, "--bits", 16)
        assert run(*arguments) == 1
        assert words in capsys.readouterr().err and not (tmp_path / name).exists()
