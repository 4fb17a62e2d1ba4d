"""A cluster makes the shards of a local run: whoever makes a piece, in which order and how often."""

import filecmp
import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from exact_vae.batch import Loading, Recipe, Request, Store, build
from exact_vae.batch.cluster import RayBackend
from exact_vae.batch.cluster.connecting import SHORT_CLAIMS, explain_errors, load_ray
from exact_vae.batch.cluster.machines import demand_kind, demand_visible, know_kind
from exact_vae.batch.cluster.pieces import MOST_TRIES, Receipt, Tally, cut_pieces, find_path, forget_tries, note_try
from exact_vae.batch.cluster.waiting import remark, remark_on_each
from exact_vae.batch.planning import name_shard, plan_items, survey
from exact_vae.batch.shards import pack_shard
from exact_vae.batch.sources import list_sources
from exact_vae.cli import cache_cluster, main
from exact_vae.cli.cache_cluster import choose_device, parse_encoders
from exact_vae.vae_core import BadRequest, VAEError
from support.slow import slow
from support.stand_in_for_ray import RayError, StandIn

RECIPE = Recipe((32, 32), 16, flip=True, posterior="mean+logvar")  # of the fixture `made`


def build_there(made: Path, out: Path, ray: StandIn, progress=lambda *counts: None):
    backend = RayBackend(ray, "cpu", (made / "photos",), piece=2)
    return build(
        Request(made / "photos", out, Loading(dtype=torch.float32), RECIPE, backend=backend), progress=progress
    )


def list_differences(one: Path, other: Path) -> list[str]:
    found = filecmp.dircmp(one, other)
    deeper = filecmp.dircmp(one / "shards", other / "shards")
    same, different, odd = filecmp.cmpfiles(one / "shards", other / "shards", deeper.common_files, shallow=False)
    assert same
    return [
        *found.left_only,
        *found.right_only,
        *found.diff_files,
        *deeper.left_only,
        *deeper.right_only,
        *different,
        *odd,
    ]


@pytest.fixture
def pieces(photos, tmp_path):
    found = survey(list_sources(photos, ".txt", tmp_path), {}, 32)
    items, _ = plan_items(found.images[:4], RECIPE.check())
    return cut_pieces(name_shard((32, 32), items), "vae", RECIPE, 2)


def test_a_cluster_writes_what_a_local_run_writes(made, tmp_path):
    told = []
    report = build_there(made, tmp_path / "out", StandIn(), lambda *counts: told.append(counts))
    assert list_differences(made / "out", tmp_path / "out") == []
    assert report.latents == report.encoded == 8 and told[-1][0] == 8 and told == sorted(told)


def test_a_job_that_was_stopped_goes_on_from_its_pieces(made, tmp_path):
    def stop(done: int, total: int, skipped: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    out, made_before = tmp_path / "out", 0
    with pytest.raises(KeyboardInterrupt):
        build_there(made, out, StandIn(), stop)
    made_before = len(list((out / "pieces").glob("*/*.safetensors")))
    told = []
    build_there(made, out, StandIn(), lambda *counts: told.append(counts))
    assert made_before >= 2 and told[1][0] - told[0][0] > 0
    assert list_differences(made / "out", out) == []


def test_a_local_run_goes_on_where_a_cluster_stopped(made, tmp_path):
    def stop(*counts: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_there(made, tmp_path / "out", StandIn(), stop)
    build(Request(made / "photos", tmp_path / "out", Loading(dtype=torch.float32), RECIPE))
    assert list_differences(made / "out", tmp_path / "out") == []


def test_a_cluster_refuses_what_a_local_run_refuses(made, own, tmp_path):
    backend = RayBackend(StandIn(), "cpu", ())
    loading = Loading(dtype=torch.float32)
    with pytest.raises(BadRequest, match="fit: crop before, pad now"):
        build(Request(made / "photos", own, loading, replace(RECIPE, fit="pad"), backend=backend))
    with pytest.raises(BadRequest, match="5 gone"):
        build(Request(made / "photos" / "more", own, loading, RECIPE, backend=backend))


def test_a_piece_is_counted_once(pieces):
    tally = Tally.of(pieces)
    receipts = [Receipt(one.shard, one.name, one.count, 0) for one in pieces]
    assert [tally.add(one) for one in (receipts[0], *receipts)] == [False] * len(receipts) + [True]
    assert tally.latents == sum(one.count for one in pieces) == 8


def test_a_piece_has_the_name_of_what_it_is(pieces):
    items = [item for piece in pieces for batch in piece.batches for item in batch]
    for vae, recipe in (("other", RECIPE), ("vae", replace(RECIPE, posterior="mean"))):
        others = cut_pieces(name_shard((32, 32), items), vae, recipe, 2)
        assert not {one.name for one in others} & {one.name for one in pieces}
    assert len({one.name for one in pieces}) == len(pieces) == 4


def test_a_piece_at_which_encoders_end_is_given_up(pieces, tmp_path):
    store = Store(tmp_path / "out")
    for _ in range(MOST_TRIES):
        note_try(store, pieces[0])
    with pytest.raises(VAEError, match=r"ended 8 times at the 2 images from '0\.png' on"):
        note_try(store, pieces[0])
    forget_tries(store)
    note_try(store, pieces[0])


def test_a_broken_piece_is_made_again(made, tmp_path):
    def stop(done: int, total: int, skipped: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_there(made, tmp_path / "out", StandIn(), stop)
    for path in (tmp_path / "out" / "pieces").glob("*/*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    build_there(made, tmp_path / "out", StandIn())
    assert list_differences(made / "out", tmp_path / "out") == []


def test_machines_must_be_alike_and_see_the_same(tmp_path):
    kind = know_kind("cpu")
    demand_kind(kind, "cpu")
    with pytest.raises(BadRequest, match=r"not alike, .*processor: GPU X there, cpu .* here"):
        demand_kind(replace(kind, processor="GPU X"), "cpu")
    demand_visible([tmp_path])
    with pytest.raises(BadRequest, match=r"does not see .*nowhere"):
        demand_visible([tmp_path, tmp_path / "nowhere"])


def test_what_a_machine_refuses_is_told_as_here():
    ray = StandIn()
    with pytest.raises(BadRequest, match="too small"), explain_errors(ray):
        raise RayError("traceback") from BadRequest("too small")
    with pytest.raises(VAEError, match=r"gave up: the node died\. The same command goes on\."), explain_errors(ray):
        raise RayError("a long story\nthe node died.\n")


def test_encoders_of_a_cluster():
    assert parse_encoders("gpu:64") == ("cuda", 64) and parse_encoders("cpu:2") == ("cpu", 2)
    assert parse_encoders("auto") == (None, None)
    for said in ("cuda:0", "cpu", "gpu:0", "gpu:x"):
        with pytest.raises(BadRequest, match="names no encoders"):
            parse_encoders(said)


def test_the_command_takes_what_the_cluster_has(made, tmp_path, monkeypatch):
    """--device left at auto: here GPUs of machines, of which the stand-in has some, or processors."""
    assert choose_device("auto", {"CPU": 4.0, "GPU": 2.0}) == choose_device("cuda:1", {}) == "cuda"
    assert choose_device("auto", {"CPU": 4.0, "GPU": 0.0}) == choose_device("cpu", {"GPU": 1.0}) == "cpu"
    ray = StandIn()
    monkeypatch.setattr(cache_cluster, "connect", lambda address: nullcontext(ray))
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0}, raising=False)
    flags = ("--area", "32x32", "--step", "16", "--flip", "--posterior", "mean+logvar", "--dtype", "fp32")
    assert main(["cache", "build", str(made / "photos"), str(tmp_path / "out"), *flags, "--ray"]) == 0
    assert list_differences(made / "out", tmp_path / "out") == []


def test_an_encoder_on_a_gpu_gets_processors_to_read_with():
    backend = RayBackend(StandIn(), "cuda", ())
    assert backend._count_readers() == 12 and backend._resources(12) == {"num_cpus": 12, "num_gpus": 1}
    assert RayBackend(StandIn(), "cpu", ())._resources(3) == {"num_cpus": 3}


def test_without_ray_it_is_one_sentence(photos, tmp_path, capsys, monkeypatch):
    for name in ("ray", "ray.data"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["cache", "build", str(photos), str(tmp_path / "out"), "--ray"]) == 1
    assert capsys.readouterr().err == 'exact-vae: --ray needs Ray Data: pip install "exact-vae[ray]".\n'
    assert not (tmp_path / "out").exists()


def test_a_killed_job_does_not_keep_the_cluster_for_long(monkeypatch):
    """Ray Data reads this when it is imported; what a user has set, stays."""
    for name in ("ray", "ray.data"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for name, seconds in SHORT_CLAIMS.items():
        monkeypatch.setenv(name, "7")
        monkeypatch.delenv(name)  # so that it is restored
        load_ray()
        assert os.environ[name] == seconds
        monkeypatch.setenv(name, "7")
        load_ray()
        assert os.environ[name] == "7"


def test_a_long_wait_is_remarked_on(caplog):
    with remark("no machine was free", after=0) as timer:
        timer.join()
    assert caplog.messages == ["no machine was free"]
    with remark("never said") as timer:
        pass
    timer.join()
    assert list(remark_on_each("abc", "never said")) == ["a", "b", "c"] and len(caplog.messages) == 1


def test_a_packed_shard_is_the_file(made):
    """Equal bytes, whether written here or sent by an encoder."""
    from exact_vae.batch.shards import read_shard

    store = Store(made / "out")
    for name in store.list_shards():
        latents, contents = read_shard(store.shards / name)
        assert pack_shard(latents, contents.skipped, contents.vae, contents.job) == (store.shards / name).read_bytes()
        assert not find_path(store, name, "x").exists()


@slow
def test_a_job_outlives_its_workers_its_driver_and_a_machine(made, tmp_path):
    """Two nodes by Ray's own test cluster, and SIGKILL while pieces are written."""
    pytest.importorskip("ray", reason='Ray is not installed: pip install "exact-vae[ray]"')
    from support.ray_cluster import run_through_kills

    flags = ("--area", "32x32", "--step", "16", "--flip", "--posterior", "mean+logvar", "--dtype", "fp32")
    kills = run_through_kills(made / "photos", tmp_path / "out", flags, ("worker", "driver", "node", "worker"))
    assert kills == 4
    assert list_differences(made / "out", tmp_path / "out") == []
