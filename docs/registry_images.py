"""The icon and the banner of the registry: python docs/registry_images.py

A photograph in strips that join as they go down: what this pack does. The registry wants an icon of at most 400 x 400
pixels, and a banner of 21:9 (docs.comfy.org, registry/specifications).
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "images"
PHOTOGRAPH = ROOT / "assets" / "photograph.jpg"
ICON, BANNER = 400, (1260, 540)
STRIPS, WIDEST = 6, 0.055  # of the photograph; and of its side, the gap below the first one
GROUND, LIGHT, DIM = "#14161b", "#f4f5f7", "#9aa3b2"


def main() -> None:
    draw_strips(ICON, 28).save(FOLDER / "icon.png", optimize=True)
    draw_banner().save(FOLDER / "banner.png", optimize=True)


def draw_strips(side: int, margin: int) -> Image.Image:
    """The photograph, square: strips with gaps between them that close, each narrower than the one above."""
    within = side - 2 * margin
    gaps = [round(WIDEST * within * (1 - i / (STRIPS - 1))) for i in range(STRIPS - 1)]
    height = within - sum(gaps)
    photograph = _crop(Image.open(PHOTOGRAPH).convert("RGB"), within, height)
    sheet, top = Image.new("RGB", (side, side), GROUND), margin
    cuts = [round(i * height / STRIPS) for i in range(STRIPS + 1)]
    for i, gap in enumerate([*gaps, 0]):
        strip = photograph.crop((0, cuts[i], within, cuts[i + 1]))
        sheet.paste(strip, (margin, top))
        top += strip.height + gap
    return sheet


def draw_banner() -> Image.Image:
    width, height = BANNER
    sheet = Image.new("RGB", BANNER, GROUND)
    sheet.paste(draw_strips(height, 44), (width - height, 0))
    pen = ImageDraw.Draw(sheet)
    pen.text((64, 150), "Exact VAE", LIGHT, ImageFont.load_default(112))
    for i, line in enumerate(("Every VAE file, any image size,", "the exact image, in little memory.")):
        pen.text((70, 300 + 48 * i), line, DIM, ImageFont.load_default(36))
    return sheet


def _crop(image: Image.Image, width: int, height: int) -> Image.Image:
    """Its middle, in this size."""
    scale = max(width / image.width, height / image.height)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


if __name__ == "__main__":
    main()
