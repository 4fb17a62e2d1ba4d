"""ComfyUI's editor in headless Chromium, driven as a person would: open a workflow, run it, look at it."""

import base64
import json
import tempfile
import time
import urllib.request
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--window-size=1600,1143",
         "--host-resolver-rules=MAP * ~NOTFOUND,EXCLUDE 127.0.0.1,EXCLUDE localhost")  # fmt: skip
SETTINGS = {
    "Comfy.TutorialCompleted": True,  # or the templates lie over everything
    "Comfy.VueNodes.Enabled": False,
    "Comfy.NodeBadge.NodeSourceBadgeMode": "None",
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
}
SPLINES, HIDDEN = 2, -1  # ways to draw links
SHARP = 2  # pixels of an image for one of the editor
MARGIN, TITLE = 10, 30  # pixels of the editor
PATIENCE = 600  # seconds


class Editor:
    """As a context manager: the browser ends with it."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in (*FLAGS, f"--user-data-dir={self.profile.name}"):
            options.add_argument(flag)
        self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        self.driver.set_script_timeout(PATIENCE)

    def __enter__(self) -> "Editor":
        self._load_page()
        for name, value in SETTINGS.items():
            self.ask("await app.extensionManager.setting.set(A[0], A[1])", name, value)
        self._load_page()
        return self

    def __exit__(self, *_: Any) -> None:
        self.driver.quit()
        self.profile.cleanup()

    def ask(self, script: str, *arguments: Any) -> Any:
        """The value of an async function's body; its arguments are A[0], A[1] ..."""
        call = "const A = Array.from(arguments), done = A.pop(); (async () => {%s})().then(done, e => done(String(e)))"
        return self.driver.execute_async_script(call % script, *arguments)

    def open(self, workflow: dict[str, Any]) -> None:
        self.ask("await app.loadGraphData(A[0])", workflow)
        time.sleep(2)

    def run(self) -> None:
        """Queue the workflow, and wait until it has ended. Nothing comes from a cache, or nodes would say nothing."""
        self._post("free", {"unload_models": True, "free_memory": True})
        time.sleep(2)
        self.ask("await app.queuePrompt(0, 1)")
        end = time.monotonic() + PATIENCE
        while self._busy():
            if time.monotonic() > end:
                raise TimeoutError(f"the workflow has not ended in {PATIENCE} s: nodes would not show what they say")
            time.sleep(0.5)
        time.sleep(3)

    def links(self, drawn: bool) -> None:
        self.ask("await app.extensionManager.setting.set('Comfy.LinkRenderMode', A[0])", SPLINES if drawn else HIDDEN)

    def choose_first(self, kind: str, widget: str) -> None:
        self.ask("await app.refreshComboInNodes()")
        self.ask(
            FIND + "const w = node.widgets.find(w => w.name === A[1]); w.value = w.options.values[0]", kind, widget
        )

    def grow(self, kind: str) -> None:
        """As high as what it says needs, and no higher."""
        self.ask(FIND + "app.canvas.centerOnNode(node); app.graph.setDirtyCanvas(true, true)", kind)
        time.sleep(1)  # what is out of sight has no height
        self.ask(FIND + GROW, kind)

    def node(self, kind: str) -> bytes:
        """An image of the first node of this class, by itself, as PNG."""
        bounds = self.ask(FIND + "return [...node.pos, ...node.size]", kind)
        x, y, w, h = bounds
        return self._image([x, y - TITLE, w, h + TITLE])

    def graph(self) -> bytes:
        """An image of the whole workflow, as PNG."""
        boxes = self.ask("return app.graph._nodes.map(n => [n.pos[0], n.pos[1], n.size[0], n.size[1]])")
        left, top = min(b[0] for b in boxes), min(b[1] for b in boxes) - TITLE
        right, bottom = max(b[0] + b[2] for b in boxes), max(b[1] + b[3] for b in boxes)
        return self._image([left, top, right - left, bottom - top], scale=1)

    def templates(self, pack: str) -> bytes:
        """The templates of this pack, as they are offered: PNG."""
        self._load_page()
        self.ask("await app.extensionManager.command.execute('Comfy.BrowseTemplates')")
        self._click(pack)
        time.sleep(8)
        dialog = self.driver.find_element(By.XPATH, "//*[@role='dialog']")
        return dialog.screenshot_as_png

    def _load_page(self) -> None:
        self.driver.get(self.url)
        end = time.monotonic() + 90
        ready = "return !!(window.app?.graph && window.LiteGraph?.registered_node_types?.ExactVAEDecode)"
        while time.monotonic() < end and not self.driver.execute_script(ready):
            time.sleep(0.3)
        time.sleep(3)

    def _busy(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/queue", timeout=60) as answer:
            queue = json.load(answer)
        return bool(queue["queue_running"] or queue["queue_pending"])

    def _post(self, path: str, body: dict[str, Any]) -> None:
        kind = {"Content-Type": "application/json"}
        urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/{path}", json.dumps(body).encode(), kind), timeout=60
        )

    def upload(self, name: str, png: bytes) -> None:
        """Put an image into the input folder."""
        line = b"--------exact-vae"
        head = f'Content-Disposition: form-data; name="image"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
        body = b"".join([b"--", line, b"\r\n", head.encode(), png, b"\r\n--", line, b"--\r\n"])
        kind = {"Content-Type": f"multipart/form-data; boundary={line.decode()}"}
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/upload/image", body, kind), timeout=60)

    def _click(self, text: str) -> None:
        """What says just this, once it is there."""
        path = f"//*[@role='dialog']//*[not(*) and normalize-space(.)='{text}']"
        found = WebDriverWait(self.driver, 60).until(lambda driver: driver.find_element(By.XPATH, path))
        self.driver.execute_script("arguments[0].click()", found)

    def _image(self, bounds: list[float], scale: float = SHARP) -> bytes:
        """What lies within these bounds of the canvas, in a window that it fits, with nothing above it."""
        x, y, w, h = bounds
        width, height = int(w) + 2 * MARGIN, int(h) + 2 * MARGIN
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.ask(ALONE, True)
        time.sleep(1)
        self.ask("app.canvas.ds.scale = 1; app.canvas.ds.offset = A[0]; app.canvas.draw(true, true)",
                 [MARGIN - x, MARGIN - y])  # fmt: skip
        time.sleep(1.5)
        found = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        self.ask(ALONE, False)
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        return base64.b64decode(found["data"])


FIND = "const node = app.graph._nodes.find(n => n.type === A[0]);"
# First as small as can be, since an element is never said to need less than it has.
GROW = """
    const plain = text => (text || '').replace(/\\s+/g, '');
    const widget = (node.widgets || []).find(w => w.name === '$$node-text-preview'), text = plain(widget?.value);
    const fit = height => {
        if (height) { widget.options.getMinHeight = widget.options.getMaxHeight = () => height }
        node.setSize([node.size[0], node.computeSize()[1]]);
    };
    if (!node.imgs?.length && node.widgets) {  // room for a preview that was shown during the run
        node.widgets = node.widgets.filter(w => w.name !== '$$canvas-image-preview');
    }
    const drawn = text ? [...document.querySelectorAll('.dom-widget')].filter(e => plain(e.innerText) === text) : [];
    if (!drawn.length) { return fit(0) }
    fit(1);
    app.canvas.draw(true, true);
    await new Promise(done => setTimeout(done, 500));
    fit(BELOW + Math.max(...drawn.map(e => e.querySelector('.overflow-y-auto')?.scrollHeight || 0)));
""".replace("BELOW", "16")
# All that floats over the canvas is hidden, but for the texts and notes on nodes.
ALONE = """
    let style = document.getElementById('alone');
    if (!style) { style = document.createElement('style'); style.id = 'alone'; document.head.append(style); }
    style.textContent = A[0] ? `body * { visibility: hidden } canvas, .dom-widget, .dom-widget * { visibility: visible }
        canvas#graph-canvas { position: fixed !important; inset: 0 } ` : '';
    window.dispatchEvent(new Event('resize'));
"""
