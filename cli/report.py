"""One page of HTML, whole in itself: two images under a slider, others beside each other, and a table of measures."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import NamedTuple

from PIL import Image

from ..vae_core.files import write_atomically

WIDEST = 1600  # pixels of an image on the page; the files beside the page are as large as they are
PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
  :root { --text: #1c1c1c; --faint: #666; --back: #fff; --line: #ddd; --handle: #fff }
  @media (prefers-color-scheme: dark) { :root { --text: #e8e8e8; --faint: #9a9a9a; --back: #141414; --line: #333 } }
  body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
         color: var(--text); background: var(--back) }
  h1 { font-size: 1.5rem; margin: 0 0 1rem }
  h2 { font-size: 1.15rem; margin: 2.5rem 0 0.25rem }
  p { margin: 0 0 1rem; max-width: 48rem }
  .faint, figcaption, th { color: var(--faint); font-weight: normal }
  img { display: block; width: 100% }
  .slider { position: relative; --cut: 50% }
  .slider img + img { position: absolute; inset: 0; clip-path: inset(0 0 0 var(--cut)) }
  .slider::after { content: ""; position: absolute; top: 0; bottom: 0; left: var(--cut); width: 2px;
                   margin-left: -1px; background: var(--handle); box-shadow: 0 0 3px #000; pointer-events: none }
  .slider input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize }
  .slider:focus-within { outline: 2px solid #48f; outline-offset: 2px }
  .ends { display: flex; justify-content: space-between; margin: 0.25rem 0 0 }
  .row { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1rem }
  figure { margin: 0 }
  figcaption { font-size: 0.9rem; margin-top: 0.25rem }
  table { border-collapse: collapse; width: 100% }
  th, td { text-align: left; vertical-align: top; padding: 0.3rem 1.5rem 0.3rem 0; border-top: 1px solid var(--line) }
  th { white-space: nowrap; width: 1% }
</style>
<h1>$title</h1>
$slider
$rows
<h2>Measures</h2>
<table>
$facts
</table>
</html>
""")
SLIDER = Template("""<div class="slider">
  $left
  $right
  <input type="range" min="0" max="100" value="50" step="0.1" aria-label="$ends"
         oninput="this.parentNode.style.setProperty('--cut', this.value + '%')">
</div>
<div class="ends faint"><span>$left_name</span><span>$right_name</span></div>""")
ROW = '<h2>{}</h2>\n<p class="faint">{}</p>\n<div class="row">\n{}\n</div>'
FACT = "  <tr><th>{}</th><td>{}</td></tr>"
FIGURE = "  <figure>{}<figcaption>{}</figcaption></figure>"


class Row(NamedTuple):
    """Images beside each other. images: caption to file."""

    title: str
    text: str
    images: Mapping[str, Path]


def write_report(
    page: Path, title: str, compared: Mapping[str, Path], rows: Sequence[Row], facts: Mapping[str, str]
) -> None:
    """compared: the two images under the slider, name to file. facts: name to text, the table."""
    text = PAGE.substitute(
        title=escape(title),
        slider=_draw_slider(compared),
        rows="\n".join(ROW.format(escape(row.title), escape(row.text), _draw_figures(row.images)) for row in rows),
        facts="\n".join(FACT.format(escape(name), escape(text)) for name, text in facts.items()),
    )
    with write_atomically(page) as part:
        part.write_text(text, encoding="utf-8")


def _draw_slider(compared: Mapping[str, Path]) -> str:
    (left_name, left), (right_name, right) = compared.items()
    names = {"left_name": escape(left_name), "right_name": escape(right_name)}
    ends = escape(f"{left_name} on the left, {right_name} on the right")
    return SLIDER.substitute(names, left=_embed(left, left_name), right=_embed(right, right_name), ends=ends)


def _draw_figures(images: Mapping[str, Path]) -> str:
    return "\n".join(FIGURE.format(_embed(path, caption), escape(caption)) for caption, path in images.items())


def _embed(path: Path, what: str) -> str:
    """The image itself, as an element of the page."""
    buffer = io.BytesIO()
    with Image.open(path) as image:
        if image.width > WIDEST:
            image.thumbnail((WIDEST, WIDEST * image.height), Image.Resampling.LANCZOS)
        image.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(what)}">'
