"""Rules of buckets: those of trainers, to the pixel. Expected sizes are what the trainers' own code gives."""

import pytest
from exact_vae.batch.buckets import Rule

SD = Rule("sd-scripts", (1024, 1024), 64, sides=(256, 2048))
SD_SHRINKING = Rule("sd-scripts", (1024, 1024), 64, enlarge=False)
MUSUBI = Rule("musubi", (960, 544), 16)


@pytest.mark.parametrize(
    ("rule", "size", "bucket", "resized"),
    [
        (SD, (1920, 1080), (1344, 768), (1365, 768)),
        (SD, (640, 480), (1152, 896), (1195, 896)),
        (SD, (1333, 777), (1344, 768), (1344, 783)),
        (SD_SHRINKING, (640, 480), (640, 448), (640, 480)),
        (SD_SHRINKING, (1000, 3000), (576, 1728), (576, 1728)),
        (MUSUBI, (1920, 1080), (960, 544), (967, 544)),
        (MUSUBI, (1000, 3000), (416, 1248), (416, 1248)),
        (MUSUBI, (1333, 777), (960, 544), (960, 560)),
    ],
    ids=str,
)
def test_rules_of_trainers(rule, size, bucket, resized):
    assert rule.fit(size) == (bucket, resized)


@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("size", [(100, 100), (3001, 77), (64, 4000), (1023, 1025)], ids=str)
def test_an_image_fills_its_bucket_or_lies_in_it(size, pad):
    bucket, resized = Rule("aspect", (512, 512), 64, pad=pad).fit(size)
    assert all(side % 64 == 0 for side in bucket)
    assert all((r <= b) if pad else (r >= b) for r, b in zip(resized, bucket, strict=True))
