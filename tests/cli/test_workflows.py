"""exact-vae check, convert and run: any workflow, in any file that carries one."""

import json
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from exact_vae.cli import main
from PIL import Image

SKY = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}}
KEEP = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "sky"}, "_meta": {"title": "Keep"}}
TWICE = {"input": {"required": {"image": ["IMAGE"], "seed": ["INT", {"default": 0}]}}, "output": ["IMAGE"],
         "output_node": False}  # fmt: skip
PACK = """
class Twice:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "seed": ("INT", {"default": 0})}}

    def go(self, image, seed):
        return (image.repeat(2, 1, 1, 1),)

NODE_CLASS_MAPPINGS = {"Twice": Twice}
"""


def run(*arguments) -> int:
    return main([str(one) for one in arguments])


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input").mkdir()
    (tmp_path / "g.json").write_text(json.dumps({"1": SKY, "2": KEEP}))
    (tmp_path / "info.json").write_text(json.dumps({"Twice": TWICE}))
    (tmp_path / "pack.py").write_text(PACK)
    return tmp_path


def editor_file(*control: str) -> dict:
    """Sky, Twice and Save, as the editor saves them."""
    return {
        "nodes": [
            {"id": 1, "type": "EmptyImage", "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
             "widgets_values": [8, 8, 1, 0]},
            {"id": 2, "type": "Twice", "inputs": [{"name": "image", "type": "IMAGE", "link": 1}],
             "outputs": [{"name": "IMAGE", "type": "IMAGE"}], "widgets_values": [7, *control]},
            {"id": 3, "type": "SaveImage", "inputs": [{"name": "images", "type": "IMAGE", "link": 2}],
             "widgets_values": ["sky"]},
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]],
    }  # fmt: skip


def test_an_image_runs_again(capsys, place):
    assert run("run", "g.json") == 0
    assert run("run", "output/sky_00001_.png", "--set", "Keep.filename_prefix=again") == 0
    assert capsys.readouterr().out.splitlines() == ["output/sky_00001_.png", "output/again_00001_.png"]
    assert run("check", "output/again_00001_.png") == 0


def test_no_metadata(place):
    assert run("run", "g.json", "--no-metadata") == 0
    with Image.open(place / "output" / "sky_00001_.png") as image:
        assert not image.info


def test_numbers_that_json_does_not_know(place, capsys):
    (place / "nan.json").write_text('{"1": {"class_type": "Own", "inputs": {"x": [NaN, -Infinity], "y": 1.5}}}')
    assert run("convert", "nan.json") == 0
    said = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert said["1"]["inputs"] == {"x": [None, None], "y": 1.5}
    run("check", "nan.json", "--json")
    json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


def test_names_of_files_that_are_set_are_filled_in(place):
    setting = "Keep.filename_prefix=%date:yyyy%_%1.width%_%EmptyImage.height%_%9.width%_%Keep.images%"
    assert run("run", "g.json", "--set", setting, "--set", "1.width=64") == 0
    (saved,) = (place / "output").iterdir()
    assert saved.name == f"{datetime.now():%Y}_64_8_%9.width%_%Keep.images%_00001_.png"


def test_a_batch_of_runs(capsys, place):
    lines = [{"1.width": 16}, {"Keep.filename_prefix": "no/../../../out"}, {"Keep.filename_prefix": "b"}]
    (place / "b.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert run("run", "g.json", "--batch", "b.jsonl", "--json") == 1  # one fails, the others run
    said = capsys.readouterr()
    assert json.loads(said.out)["files"] == ["output/sky_00001_.png", "output/b_00001_.png"]
    *events, sentence = said.err.splitlines()
    assert "Keep" in sentence and [one["run"] for one in map(json.loads, events) if one["event"] == "error"] == [2]
    starts = [(e["run"], e["node"]) for e in map(json.loads, events) if e["event"] == "start"]
    assert starts == [(1, "1"), (1, "2"), (2, "1"), (2, "2"), (3, "2")]  # node 1 of the third is that of the second
    (place / "b.jsonl").write_text('{"1.width": 16}\n[]')
    assert run("run", "g.json", "--batch", "b.jsonl") == 1
    assert "line 2 of 'b.jsonl' is no object" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\xff\xfe{}", "is no text of runs"),
        (b"{", "line 1 of 'b.jsonl' is not JSON"),
        (b"\n", "there is no run in 'b.jsonl'"),
        (None, "there is no file"),
    ],
)
def test_what_is_no_batch(capsys, place, content, sentence):
    if content:
        (place / "b.jsonl").write_bytes(content)
    assert run("run", "g.json", "--batch", "b.jsonl") == 1
    assert sentence in capsys.readouterr().err and not list((place / "output").glob("*.png"))


@pytest.mark.parametrize(("control", "seeds"), [("increment", [7, 8, 9]), ("fixed", [7, 7, 7])])
def test_seeds_change_as_the_editor_changes_them(place, control, seeds):
    (place / "e.json").write_text(json.dumps(editor_file(control)))
    assert run("run", "e.json", "--nodes", "pack.py", "--repeat", 3) == 0
    texts = [Image.open(one).info["prompt"] for one in sorted((place / "output").glob("*.png"))[::2]]
    assert [json.loads(text)["2"]["inputs"]["seed"] for text in texts] == sorted(set(seeds))


def test_convert_needs_to_know_the_classes(capsys, place):
    (place / "e.json").write_text(json.dumps(editor_file("randomize")))
    assert run("convert", "e.json") == 1
    assert "not known here" in capsys.readouterr().err
    assert run("convert", "e.json", "--object-info", "info.json") == 0
    assert json.loads(capsys.readouterr().out)["2"]["inputs"] == {"image": ["1", 0], "seed": 7}
    assert run("convert", "e.json", "--object-info", "info.json", "-o", "api.json") == 0
    assert run("check", "api.json", "e.json", "--object-info", "info.json") == 0
    assert run("convert", "g.json", "-o", "g.json") == 1
    assert "is an input of this command" in capsys.readouterr().err


def test_a_class_that_is_only_declared_does_not_run(capsys, place):
    (place / "e.json").write_text(json.dumps(editor_file("fixed")))
    assert run("run", "e.json", "--object-info", "info.json") == 1
    assert "node 2 (Twice): only its declaration is known here" in capsys.readouterr().err


def test_check_suggests(capsys, place):
    (place / "input" / "cat.png").touch()
    graph = {
        "1": SKY, "2": {"class_type": "SaveImage", "inputs": {"imagse": ["1", 0], "filename_prefix": "x"}},
        "3": {"class_type": "LoadImage", "inputs": {"image": "cta.png"}},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
    }  # fmt: skip
    (place / "bad.json").write_text(json.dumps(graph))
    (place / "worse.json").write_text(json.dumps(graph | {"5": {"class_type": "EmptyImag", "inputs": {}}}))
    assert run("check", "bad.json", "worse.json", "g.json", "--json") == 1
    bad, worse, good = json.loads(capsys.readouterr().out)["files"]
    assert "the file gives 'imagse'" in bad["sentences"][0] and "nearest is 'cat.png'" in bad["sentences"][1]
    assert bad["node_errors"]["2"]["errors"][0]["type"] == "required_input_missing"
    assert worse["error"]["type"] == "missing_node_type" and "nearest is EmptyImage" in worse["sentences"][0]
    assert good["ok"] and good["titles"] == {"2": "Keep"}


def test_check_takes_patterns(capsys, place):
    """Windows leaves them to the program."""
    for name in ("a1.json", "a2.json"):
        (place / name).write_text(json.dumps({"1": SKY, "2": KEEP}))
    assert run("check", "a*.json", "g.json", "--json") == 0
    assert [one["file"] for one in json.loads(capsys.readouterr().out)["files"]] == ["a1.json", "a2.json", "g.json"]
    assert run("check", "g.json", "z*.json") == 1
    assert "there is no file 'z*.json'" in capsys.readouterr().out


def test_definitions_of_a_server(capsys, place):
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/object_info" else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"Twice": TWICE}).encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        (place / "e.json").write_text(json.dumps(editor_file("fixed")))
        assert run("check", "e.json", "--comfyui", f"http://127.0.0.1:{server.server_port}") == 0
    finally:
        server.shutdown()
        server.server_close()
    capsys.readouterr()
    assert run("check", "e.json", "--comfyui", "file:///etc") == 1
    assert "is no address of a ComfyUI" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import folder_paths", "it needs the module 'folder_paths'"),
        ("x = 1", "has no NODE_CLASS_MAPPINGS"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_packs_that_cannot_be_loaded(capsys, place, text, said):
    (place / "pack.py").write_text(text)
    assert run("check", "g.json", "--nodes", "pack.py") == 1
    assert said in capsys.readouterr().err


LOOP = PACK.replace(
    "        return (image.repeat(2, 1, 1, 1),)",
    """        if seed == 0:
            return (image,)
        shown = {"class_type": "ImageCompare", "inputs": {"compare_view": "", "image_a": image}}
        step = {"class_type": "Twice", "inputs": {"image": ["batch", 0], "seed": seed - 1}}
        batch = {"class_type": "ImageBatch", "inputs": {"image1": image, "image2": image}}
        return {"expand": {"batch": batch, "step": step, "shown": shown}, "result": (["step", 0],)}""",
)


def test_a_pack_that_loops_and_all_files_are_listed(capsys, place):
    (place / "pack.py").write_text(LOOP)
    twice = {"class_type": "Twice", "inputs": {"image": ["1", 0], "seed": 2}}
    graph = {"1": SKY, "3": twice, "2": {**KEEP, "inputs": {**KEEP["inputs"], "images": ["3", 0]}}}
    (place / "g.json").write_text(json.dumps(graph))
    assert run("run", "g.json", "--nodes", "pack.py", "--json") == 0
    said = capsys.readouterr()
    files = json.loads(said.out)["files"]
    saved = [one for one in files if "/temp/" not in one]
    assert saved == [f"output/sky_0000{i}_.png" for i in (1, 2, 3, 4)] and len(files) == 4 + 1 + 2
    assert all((place / one).is_file() for one in files)
    started = [json.loads(line) for line in said.err.splitlines() if '"start"' in line]
    assert sum(one["class"] == "Twice" for one in started) == 3
