"""Core nodes without a model: what they do. tests/nodes/comfyui compares them with the real ones, pixel for pixel."""

import torch
from exact_vae.headless import Graph, check, core_nodes, run

RAMP = torch.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3) / 144


def made(kind: str, **inputs):
    return core_nodes("in", "out", "temp", {})[kind]().run(**inputs)[0]


def test_scaling():
    scale = {"image": RAMP, "upscale_method": "area", "crop": "disabled"}
    assert made("ImageScale", **scale, width=3, height=0).shape == (2, 2, 3, 3)
    assert made("ImageScale", **scale, width=0, height=0) is RAMP
    halves = made("ImageScale", **scale, width=3, height=2)
    assert torch.allclose(halves, RAMP.unfold(1, 2, 2).unfold(2, 2, 2).mean((-1, -2)))
    square = made("ImageScale", **{**scale, "crop": "center"}, width=4, height=4)
    assert torch.equal(square, RAMP[:, :, 1:5])
    assert made("ImageScaleBy", image=RAMP, upscale_method="lanczos", scale_by=1.5).shape == (2, 6, 9, 3)


def test_parts_and_turns():
    assert torch.equal(made("ImageCrop", image=RAMP, width=2, height=9, x=3, y=1), RAMP[:, 1:, 3:5])
    assert torch.equal(made("ImageRotate", image=RAMP, rotation="90 degrees")[:, 0, -1], RAMP[:, 0, 0])
    assert torch.equal(made("ImageFlip", image=RAMP, flip_method="x-axis: vertically"), RAMP.flip(1))
    assert torch.equal(made("ImageFromBatch", image=RAMP, batch_index=-1, length=5), RAMP[1:])
    latent = {"samples": RAMP.movedim(-1, 1), "other": 1}
    turned = made("LatentRotate", samples=latent, rotation="90 degrees")
    assert torch.equal(turned["samples"][..., 0, -1], latent["samples"][..., 0, 0]) and turned["other"] == 1
    flipped = made("LatentFlip", samples=latent, flip_method="y-axis: horizontally")
    assert torch.equal(flipped["samples"], latent["samples"].flip(-1))


def test_batches():
    assert len(made("RepeatImageBatch", image=RAMP, amount=3)) == 6
    both = made("ImageBatch", image1=RAMP, image2=torch.zeros(1, 8, 8, 4))
    assert both.shape == (3, 4, 6, 4) and torch.equal(both[:2, ..., 3], torch.ones(2, 4, 6))


def test_masks():
    mask = RAMP[..., 0]
    assert torch.equal(made("InvertMask", mask=mask), 1 - mask)
    assert torch.equal(made("ImageToMask", image=made("MaskToImage", mask=mask), channel="blue"), mask)
    assert made("ThresholdMask", mask=mask, value=0.5).unique().tolist() == [0, 1]
    assert torch.equal(made("CropMask", mask=mask[0], x=1, y=1, width=2, height=2), mask[:1, 1:3, 1:3])


def test_values_in_a_graph(tmp_path):
    nodes = core_nodes(tmp_path, tmp_path, tmp_path, {})
    graph = Graph()
    size = graph.add("GetImageSize", image=graph.add("EmptyImage", width=6, height=4, batch_size=2, color=0))
    mask = graph.add("SolidMask", value=graph.add("PrimitiveFloat", value=0.25), width=size[0], height=size[1])
    graph.add("PreviewImage", images=graph.add("MaskToImage", mask=mask))
    assert check(graph, nodes).ok
    (found,) = run(graph, nodes, keep=(mask.id,)).values[mask.id]
    assert found.shape == (1, 4, 6) and found.eq(0.25).all()


def test_texts_and_switches(tmp_path):
    nodes = core_nodes(tmp_path, tmp_path, tmp_path, {})
    graph = Graph()
    one, other = graph.add("PrimitiveInt", value=1), graph.add("PrimitiveString", value="b")
    text = graph.add("StringConcatenate", string_a="a", string_b=other, delimiter="-")
    chosen = graph.add("ComfySwitchNode", switch=True, on_false=one, on_true=text)
    shown = graph.add("PreviewAny", source=chosen)
    results = run(graph, nodes)
    assert results.outputs[shown.id] == {"text": ["a-b"]} and one.id not in results.executed
