"""exact-vae encode and decode for clips: videos and folders of images, frame by frame."""

import pytest
import torch
from exact_vae.cli import main
from exact_vae.nodes.images import to_pixels
from exact_vae.vae_core import readers, save, videos
from exact_vae.vae_core.latents import StoredLatent, read_latent, write_latent
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
    (tmp_path / "f_3.png").write_bytes(b"mine")
    assert run("decode", latent, out, "--vae", wan, "--resume") == 0
    assert "f_1.png to f_4.png: 4 images, 3 of them there before" in capsys.readouterr().out
    assert (tmp_path / "f_2.png").exists() and (tmp_path / "f_3.png").read_bytes() == b"mine"


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
