"""Core nodes of sound, and of latents of sound: saved and read again, joined with those of clips and parted."""

import json

import pytest
import torch
from exact_vae.headless import Graph, run
from exact_vae.headless.embedded import read_embedded
from exact_vae.vae_core.errors import BadRequest, LatentMismatch

av = pytest.importorskip("av")
TIME = torch.arange(6000) / 16000
SOUND = {"waveform": torch.sin(2765 * TIME).expand(2, 2, -1) / 2, "sample_rate": 16000}


def save(nodes, kind, sound=SOUND, **inputs):
    shown = nodes[kind]()
    shown = getattr(shown, shown.FUNCTION)(sound, "sounds/x", prompt={"1": {}}, **inputs)
    assert shown["result"] == (sound,)
    return [one["filename"] for one in shown["ui"]["audio"]]


def hear(nodes, name):
    (found,) = nodes["LoadAudio"]().run(f"sounds/{name} [output]")
    return found["waveform"][0], found["sample_rate"]


def test_flac_keeps_16_bits(nodes, folders):
    names = save(nodes, "SaveAudio")
    assert names == ["x_00001.flac", "x_00002.flac"]
    waveform, rate = hear(nodes, names[1])
    assert rate == 16000 and (waveform - SOUND["waveform"][1]).abs().max() <= 2**-15
    assert json.loads(read_embedded(folders.output / "sounds" / names[0])["prompt"]) == {"1": {}}


@pytest.mark.parametrize(
    ("kind", "inputs", "codec", "rate"),
    [
        ("SaveAudioMP3", {"quality": "V0"}, "mp3", 16000),
        ("SaveAudioMP3", {"quality": "320k"}, "mp3", 16000),
        ("SaveAudioOpus", {"quality": "64k"}, "opus", 48000),
        ("SaveAudioAdvanced", {"format": "mp3", "format.quality": "128k"}, "mp3", 16000),
        ("SaveAudioAdvanced", {"format": "opus", "format.quality": "96k"}, "opus", 48000),
        ("SaveAudioAdvanced", {"format": "flac"}, "flac", 16000),
    ],
)
def test_every_format_sounds_like_it(nodes, folders, kind, inputs, codec, rate):
    save_it = getattr(nodes[kind](), nodes[kind].FUNCTION)
    names = [one["filename"] for one in save_it(audio=SOUND, filename_prefix="sounds/x", **inputs)["ui"]["audio"]]
    waveform, found = hear(nodes, names[0])
    with av.open(str(folders.output / "sounds" / names[0])) as file:
        assert file.streams.audio[0].codec.canonical_name == codec
    step = found // 16000
    assert found == rate and abs(waveform.shape[1] / step - 6000) < 2400  # an encoder's frames are whole
    level = waveform[0, 2000 * step : 5000 * step].std()
    assert abs(level - SOUND["waveform"][0, 0].std()) < 0.03  # LAME takes 5 % off


def test_bits_a_second_are_as_asked(nodes, folders):
    sizes = []
    for quality in ("128k", "320k"):
        noise = {"waveform": torch.rand(1, 2, 96000) - 0.5, "sample_rate": 48000}
        (name,) = save(nodes, "SaveAudioMP3", noise, quality=quality)
        sizes.append((folders.output / "sounds" / name).stat().st_size)
    assert [round(size * 8 / 2 / 1000, -1) for size in sizes] == pytest.approx([128, 320], rel=0.1)


def test_a_preview_is_no_output(nodes, folders):
    (shown,) = nodes["PreviewAudio"]().run(SOUND)["ui"]["audio"][:1]
    assert shown["type"] == "temp" and (folders.temp / shown["filename"]).is_file()


def test_what_is_no_sound_is_refused(nodes):
    with pytest.raises(BadRequest, match="there is no sound to save: the video it comes from may have none"):
        nodes["SaveAudio"]().run(None, "x")
    with pytest.raises(BadRequest, match="this input needs an AUDIO, not int"):
        nodes["SaveAudio"]().run(3, "x")
    with pytest.raises(BadRequest, match="cannot be written by libmp3lame at 96000 samples a second"):
        nodes["SaveAudioMP3"]().run({**SOUND, "sample_rate": 96000}, "x", "V0")
    with pytest.raises(BadRequest, match="the sound holds NaN"):
        nodes["SaveAudio"]().run({**SOUND, "waveform": torch.full((1, 1, 9), torch.nan)}, "x")


def test_empty_latents_of_sound(nodes):
    (first,) = nodes["EmptyAceStepLatentAudio"]().generate(10.0, 2)
    (second,) = nodes["EmptyAceStep1.5LatentAudio"]().generate(10.02, 3)
    assert first["samples"].shape == (2, 8, 16, 107) and first["type"] == "audio"
    assert second["samples"].shape == (3, 64, 250) and second["downscale_ratio_temporal"] == 1764


def join(nodes, clip, sound):
    return nodes["LTXVConcatAVLatent"]().run(clip, sound)[0]


def part(nodes, both):
    return nodes["LTXVSeparateAVLatent"]().run(both)


CLIP, TONE = torch.randn(1, 8, 3, 2, 2), torch.randn(1, 8, 10, 16)


def test_a_clip_and_its_sound_come_back(nodes):
    both = join(nodes, {"samples": CLIP, "a": 1}, {"samples": TONE, "a": 2, "type": "audio"})
    assert both["samples"].is_nested and "noise_mask" not in both and both["a"] == 2
    clip, tone = part(nodes, both)
    assert torch.equal(clip["samples"], CLIP) and torch.equal(tone["samples"], TONE) and tone["type"] == "audio"


def test_a_mask_of_one_is_ones_for_the_other(nodes):
    mask = torch.rand(1, 1, 3, 2, 2)
    clip, tone = part(nodes, join(nodes, {"samples": CLIP, "noise_mask": mask}, {"samples": TONE}))
    assert torch.equal(clip["noise_mask"], mask) and torch.equal(tone["noise_mask"], torch.ones_like(TONE))


@pytest.mark.parametrize("length", [7, 10, 13])
def test_a_sound_takes_the_place_and_the_length_of_another(nodes, length):
    both = join(nodes, {"samples": CLIP}, {"samples": TONE})
    other, mask = torch.randn(1, 8, length, 16), torch.zeros(1, 1, length, 16)
    clip, tone = part(nodes, join(nodes, both, {"samples": other, "noise_mask": mask}))
    kept = min(length, 10)
    assert torch.equal(clip["samples"], CLIP) and tone["samples"].shape == TONE.shape
    assert torch.equal(tone["samples"][:, :, :kept], other[:, :, :10]) and not tone["samples"][:, :, kept:].any()
    mask = tone["noise_mask"].expand_as(TONE)
    assert not mask[:, :, :kept].any() and mask[:, :, kept:].eq(1).all()


def test_what_cannot_be_joined_or_parted_is_refused(nodes):
    both = join(nodes, {"samples": CLIP}, {"samples": TONE})
    with pytest.raises(
        LatentMismatch, match=r"\(1, 4, 10, 16\) cannot take the place of \(1, 8, 10, 16\): it may only"
    ):
        join(nodes, both, {"samples": TONE[:, :4]})
    with pytest.raises(LatentMismatch, match="not that of a clip and its sound in one"):
        part(nodes, {"samples": CLIP})
    with pytest.raises(BadRequest, match="of a clip and its sound: take them apart by LTXVSeparateAVLatent"):
        nodes["SaveLatent"]().save(both, "x")


def test_in_a_graph(nodes, folders):
    graph = Graph()
    empty = graph.add("EmptyImage", width=16, height=16, batch_size=4, color=0)
    video = graph.add("CreateVideo", images=empty, fps=4.0)
    heard = graph.add("GetVideoComponents", video=video)
    graph.add("SaveAudioAdvanced", audio=heard[1], filename_prefix="x", **{"format": "flac"})
    results = run(graph, nodes, keep_going=True)
    assert "there is no sound to save" in str(results.errors[0])
