"""The line in which a node says how it ran, and web/lines.js, which says it in the editor's language."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from exact_vae.batch import Report
from exact_vae.nodes import encode_folder, frames, host, vae_decode, vae_loader
from exact_vae.nodes.host import host_vae, showing
from exact_vae.nodes.images import convert_with_alpha
from exact_vae.nodes.several import take_image
from exact_vae.vae_core import Half
from exact_vae.vae_core.execution.plans.plan import Plan
from exact_vae.vae_core.execution.tiles import TilePlan, Tiles
from exact_vae.vae_core.verdicts import Finding, Machine, Verdict, Way
from exact_vae.vae_core.verdicts.detours import say_why
from support.lines import HOLE, Sayer, table
from support.node_calls import call, latent, sample_image, text

LANGUAGES = ("es", "fr", "ja", "ko", "ru", "zh")
SCRIPT = Path(__file__).parents[2] / "web" / "lines.js"
PLAN = Plan(1, 0, "device", (), 125 << 20, 0, 1.0, (3, 64, 64))


def say_detour(dtype: torch.dtype, half: Half, other: Way) -> str:
    """A sentence of the Doctor's about an MPS device."""
    found = {name: {half.verb: Finding(False, 1.0, "6.6 dB, worst in the text")} for name in ("fp32", "fp16")}
    verdict = Verdict(Machine("M3, 16 GB", "1", "2.13", "0.1.0"), "0" * 16, "ae.safetensors", found, "All of it.")
    return say_why(verdict, half, Way(torch.device("mps"), dtype), other)


def lines_of_plans() -> list[str]:
    """The line of every kind of plan, and what is said of memory that ran out."""
    clips = SimpleNamespace(clip_law=SimpleNamespace(latents=lambda n: (n + 3) // 4, images_stay_apart=False))
    plans = [
        PLAN,
        replace(PLAN, images=2, rows=8, strips=24, held=4 << 30, keep="system memory"),
        replace(PLAN, rows=64, strips=1, frames=1, held=1 << 30, keep="disk", note=PLAN.failure),
        replace(PLAN, frames=3, note=replace(PLAN, images=2, rows=8, strips=24).failure),
        replace(PLAN, rows=64, strips=2, note=PLAN.unsure_failure),
        TilePlan(Tiles(512, 64), 6, PLAN),
    ]
    notes = [frames.describe_clip(n, clips) for n in (1, 9)] + [frames.describe_images(n) for n in (1, 3)]
    mps, cpu = Way(torch.device("mps"), torch.float32), Way(torch.device("cpu"), torch.float32)
    detours = [say_detour(torch.float16, Half.DECODER, mps), say_detour(torch.float32, Half.ENCODER, cpu)]
    return [*(plan.summary for plan in plans), *notes, *detours, host_vae.WHOLE, host_vae.TILED]


@pytest.fixture
def lines(folders, vae) -> list[str]:
    """Lines that nodes and what they call make: of every template at least one."""
    several = take_image({"samples": SimpleNamespace(is_nested=True, unbind=lambda: [torch.zeros(1, 4, 8, 8)] * 2)})
    sound = call("ExactJoinLatents", samples1=latent(2, 16, 3, 4, 5), samples2=latent(2, 1, 9))
    tiny = call("ExactVAELoader", vae_name="mine")
    drawn = {"seed": 1, "samples_per_image": 2, "temperature": 1.0}
    return [
        *lines_of_plans(),
        several[1],
        vae_decode.CHANGED,
        convert_with_alpha(sample_image(channels=4), 3, "automatic", "#ffffff")[1],
        text("ExactVAELoader", vae_name="small.safetensors"),
        text("ExactVAELoader", vae_name="small.safetensors", device="xpu:7"),
        vae_loader.ENCODED_APART,
        showing.say_where(host.new_file("latents/my, ones", ".latent")),
        text("ExactLatentNoise", vae=vae, seed=1, width=60, height=64, batch_size=1, strength=1.0),
        text("ExactLatentNoise", samples=sound, seed=1, width=8, height=8, batch_size=1, strength=1.0),
        text("ExactLatentSample", vae=vae, **drawn),
        text("ExactLatentSample", vae=vae, pixels=sample_image(), **drawn),
        text("ExactLatentSample", vae=tiny, pixels=sample_image(), **drawn),
        encode_folder.describe(Report(8, 7, 3, {}), {"it is too small": 2, "it is a text": 1}, "latents/set"),
    ]


def test_the_templates_say_every_line_and_none_is_idle(lines):
    say = Sayer(table("en"))
    assert [say(line) for line in lines] == lines
    assert say.used == set(table("en")["lines"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_template_with_its_values(language):
    english, own = table("en"), table(language)
    assert own.keys() == english.keys() and list(own["lines"]) == list(english["lines"])
    for key, template in english["lines"].items():
        said = own["lines"][key]
        assert sorted(re.findall(HOLE, said)) == sorted(re.findall(HOLE, template)), key
        assert said == said.strip() and own["semicolon"] not in said, key
        assert not re.search(r"[@|]|\b(the|of|and|it|is|up to)\b", said), key
        assert said != template or not re.search("[a-z]{3}", re.sub(HOLE, "", template)) or key in SAME[language], key


SAME = {"fr": ("exact", "oneFrame", "frames", "oneLatent", "latents")} | dict.fromkeys(
    ("es", "ja", "ko", "ru", "zh"), ()
)


def test_a_line_in_chinese(lines):
    own = table("zh")
    found = [re.split(f"[{own['comma']}{own['semicolon']}]", Sayer(own)(line)) for line in lines]
    assert found[0] == ["精确", "一次完成", "内存最多 125 MiB"]
    assert found[1] == ["精确", "每次 2 张图像", "分 24 条", "内存最多 125 MiB", "另用系统内存 4.0 GiB"]
    assert found[3][-2:] == ["每次 2 张图像", "分 24 条时内存不足"]


RUN = """
import fs from "node:fs";
import { api } from "./scripts/api.js";
import { app } from "./scripts/app.js";
const { language, texts, before } = JSON.parse(fs.readFileSync(0, "utf8"));
const node = { widgets: [{ value: "" }, { value: "another" }] };
app.canvas = { graph: { getNodeById: (id) => (id === "7" ? node : undefined) } };
app.extensionManager = { setting: { get: () => language } };
const write = ({ detail }) => { node.widgets[0].value = detail.text; }; // what the editor does
if (before) api.addEventListener("progress_text", write);
await import("./extensions/exact-vae/lines.js");
await app.extension.setup();
if (!before) api.addEventListener("progress_text", write);
const seen = texts.map((text) => {
  api.dispatchEvent(new CustomEvent("progress_text", { detail: { nodeId: "3:7", text } }));
  return node.widgets.map(({ value }) => value);
});
console.log(JSON.stringify(seen));
"""


@pytest.fixture
def browser(tmp_path):
    """The script beside stand-ins for the editor's modules, in Node. Called with texts, it gives what a node shows.

    before: the editor listens before the script does.
    """
    node = shutil.which("node")
    if not node:
        pytest.skip("needs Node.js")
    i18n = json.dumps({name: {"exactVae": table(name)} for name in ("en", *LANGUAGES)})
    files = {
        "package.json": '{"type": "module"}',
        "run.js": RUN,
        "scripts/app.js": "export const app = { registerExtension: (one) => { app.extension = one; } };",
        "scripts/api.js": f"const i18n = {i18n}; export const api = new EventTarget();\n"
        "api.fetchApi = async (path) => ({ json: async () => (path === '/i18n' ? i18n : {}) });",
        "extensions/exact-vae/lines.js": SCRIPT.read_text(),
    }
    for name, content in files.items():
        (tmp_path / "web" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "web" / name).write_text(content, encoding="utf-8")

    def show(language: str, texts: list[str], before: bool = True) -> list[str]:
        given = json.dumps({"language": language, "texts": texts, "before": before})
        command = [node, "run.js"]
        done = subprocess.run(command, cwd=tmp_path / "web", input=given, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        written, others = zip(*json.loads(done.stdout), strict=True)
        assert set(others) == {"another"}
        return list(written)

    return show


def test_the_editor_sees_its_language(browser, lines):
    """Every line as above, of several parts each on its own line; reports and unknown texts stay."""
    sent = [showing._in_lines(line) for line in lines]
    report = "| VAE | 5 frames |\n| a; | in one piece |"
    for language in ("zh", "fr", "ja"):
        own = table(language)
        end = own["semicolon"].rstrip() + "  \n"
        want = [Sayer(own)(line).replace(own["semicolon"], end) for line in lines]
        for before in (True, False):
            assert browser(language, [*sent, report, "unknown"], before) == [*want, report, "unknown"]
    assert browser("en", sent) == browser("de", sent) == sent
