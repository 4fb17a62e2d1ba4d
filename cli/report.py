"""One page of HTML: a table of measures, and images from the folder of the page."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template

from ..vae_core.files import write_atomically

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>$title</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #222 }
  h1 { font-size: 1.4rem }
  td { padding: 0.1rem 1.5rem 0.1rem 0; vertical-align: top }
  td:first-child { color: #777 }
  main { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; margin-top: 1rem }
  figure { margin: 0 }
  img { display: block; width: 100%; background: #eee }
  figcaption { color: #777; font-size: 0.9rem }
</style>
<h1>$title</h1>
<table>
$rows
</table>
<main>
$figures
</main>
</html>
""")
ROW = "  <tr><td>{}</td><td>{}</td></tr>"
FIGURE = '  <figure><img src="{0}" alt="{1}"><figcaption>{1}</figcaption></figure>'


def write_report(page: Path, title: str, facts: Mapping[str, str], images: Mapping[str, Path]) -> None:
    """facts: name to text, the table. images: caption to file; each must lie in the folder of the page."""
    rows = [ROW.format(escape(name), escape(text)) for name, text in facts.items()]
    figures = [FIGURE.format(escape(path.name), escape(caption)) for caption, path in images.items()]
    text = PAGE.substitute(title=escape(title), rows="\n".join(rows), figures="\n".join(figures))
    with write_atomically(page) as part:
        part.write_text(text, encoding="utf-8")
