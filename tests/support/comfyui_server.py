"""A real ComfyUI on loopback, for tests that ask for one. Its folder is only read: all else is in a base folder."""

import base64
import json
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "custom_nodes",
    "input",
    "output",
    "temp",
    "user",
    "models/vae",
    "models/vae_approx",
    "models/checkpoints",
    "models/diffusion_models",
)


class Server:
    """A ComfyUI with this pack.

    comfyui      its folder
    base         a folder for models, inputs and outputs
    flags        more options of its command line
    test_nodes   install the nodes of comfyui_test_nodes.py, nodes_for_both.py and nodes_of_v3.py, too
    The interpreter is the one that EXACT_VAE_COMFYUI_PYTHON names, otherwise this one.
    """

    def __init__(self, comfyui: Path, base: Path, *flags: str, test_nodes: bool = True, api_nodes: bool = False):
        self.base, self.log = base, base / "server.log"
        for folder in FOLDERS:
            (base / folder).mkdir(parents=True, exist_ok=True)
        (base / "custom_nodes" / "comfyui-exact-vae").symlink_to(ROOT)
        if test_nodes:
            (base / "custom_nodes" / "exact_vae_tests.py").symlink_to(Path(__file__).with_name("comfyui_test_nodes.py"))
            (base / "custom_nodes" / "exact_vae_both.py").symlink_to(Path(__file__).with_name("nodes_for_both.py"))
            (base / "custom_nodes" / "exact_vae_third.py").symlink_to(Path(__file__).with_name("nodes_of_v3.py"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        python = os.environ.get("EXACT_VAE_COMFYUI_PYTHON", sys.executable)
        places = [
            "--port",
            str(self.port),
            "--base-directory",
            str(base),
            "--database-url",
            f"sqlite:///{base}/user/db",
        ]
        quiet = [
            "--cpu",
            "--listen",
            "127.0.0.1",
            "--disable-auto-launch",
            *([] if api_nodes else ["--disable-api-nodes"]),
        ]
        command = [python, "main.py", *quiet, *places, *flags]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=comfyui, stdout=log, stderr=subprocess.STDOUT)

    def wait(self, seconds: float = 180) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.5)
        raise RuntimeError(f"ComfyUI did not start:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    def get(self, path: str):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            body = answer.read()
        return json.loads(body) if "json" in answer.headers.get("Content-Type", "") else body.decode()

    def post(self, path: str, **body):
        """What it answers, if that is JSON. A refusal is an AssertionError with the host's words."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as e:
            raise AssertionError(e.read().decode()) from e

    def prompt(self, graph: dict, seconds: float = 300, client: str | None = None, **extra) -> dict:
        """The graph's history entry, when it has ended. client: who is told of it; extra: as the editor sends it."""
        return self.wait_for_end(self.queue(graph, client, **extra), seconds)

    def queue(self, graph: dict, client: str | None = None, **extra) -> str:
        """The graph's number."""
        somebody = {"client_id": client} if client else {}
        return self.post("/prompt", prompt=graph, extra_data=extra, **somebody)["prompt_id"]

    def wait_for_end(self, number: str, seconds: float = 300) -> dict:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := self.get(f"/history/{number}"):
                return found[number]
            time.sleep(0.1)
        raise AssertionError("the prompt did not end")

    def images(self, entry: dict) -> list[Path]:
        """The files of an ended prompt's images: those that are saved, and those that nodes show."""
        assert entry["status"]["status_str"] == "success", failure(entry)
        shown = [image for ui in entry["outputs"].values() for image in ui.get("images", ())]
        return [self.base / image["type"] / image["subfolder"] / image["filename"] for image in shown]

    def saved_images(self, entry: dict) -> list[Path]:
        """The files that an ended prompt saved in the output folder."""
        return [path for path in self.images(entry) if self.base / "output" in path.parents]


class Browser:
    """What a browser that asks for a graph is sent meanwhile: the smallest WebSocket that can listen (RFC 6455)."""

    name = "somebody"

    def __init__(self, server: Server):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET /ws?clientId={self.name} HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket",
                 "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]  # fmt: skip
        self.socket.sendall("\r\n".join(lines).encode())
        self.stream = self.socket.makefile("rb")
        while self.stream.readline().strip():
            pass

    def listen(self) -> Iterator[tuple[str, Any]]:
        """(type, data) of every message as it comes, until the graph has ended.

        Progress texts are of type 'text', (node id, text); preview images of type 'image', the bytes of a file.
        """
        while True:
            kind, body = self.frame()
            if kind == 1:
                message = json.loads(body)
                yield message["type"], message["data"]
                if message["type"] in ("execution_success", "execution_error", "execution_interrupted"):
                    return
            if kind == 2 and body[:4] == b"\0\0\0\3":
                length = int.from_bytes(body[4:8], "big")
                yield "text", (body[8 : 8 + length].decode(), body[8 + length :].decode())
            if kind == 2 and body[:4] == b"\0\0\0\1":
                yield "image", body[8:]

    def frame(self) -> tuple[int, bytes]:
        first, length = self.stream.read(2)
        if length > 125:
            length = struct.unpack(*((">H", self.stream.read(2)) if length == 126 else (">Q", self.stream.read(8))))[0]
        return first & 15, self.stream.read(length)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_) -> None:
        self.stream.close()
        self.socket.close()


def failure(entry: dict) -> str:
    """What the host says went wrong."""
    return next(
        (data["exception_message"] for kind, data in entry["status"]["messages"] if kind == "execution_error"), ""
    )
