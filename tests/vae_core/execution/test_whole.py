"""The ordinary way of running."""

import torch
from exact_vae.vae_core import from_weights
from exact_vae.vae_core.execution import whole
from exact_vae.vae_core.execution.whole import Observer
from exact_vae.vae_core.ops import Affine, Residual, SideInput, leaves, plus, times
from support.random_networks import random_weights, small_kl


@torch.no_grad()
def test_runs_op_after_op():
    x = torch.randn(1, 2, 3, 3)
    ops = (Affine(2.0, 1.0), Residual((Affine(3.0, 0.0),), (Affine(5.0, 0.0),)), Residual((Affine(1.0, 1.0),)))
    inner = 2 * x + 1
    assert torch.allclose(whole.run(ops, x), (3 * inner + 5 * inner) * 2 + 1)


@torch.no_grad()
def test_a_beside_looks_at_the_run_s_input_or_at_another_image():
    x, other = torch.randn(2, 1, 2, 3, 3)
    add_input = SideInput((Affine(5.0, 0.0),), plus)
    ops = (Affine(2.0, 0.0), Residual((Affine(3.0, 0.0), add_input)), SideInput((Affine(1.0, 0.0), add_input), times))
    for given, seen in ((None, x), (other, other)):
        want = (2 * x + 6 * x + 5 * seen) * (seen + 5 * seen)
        assert torch.allclose(whole.run(ops, x.clone(), side_input=given), want)


def test_the_input_is_not_changed():
    weights = random_weights("kl", small_kl())
    vae = from_weights(weights)
    x, z = torch.rand(1, 3, 8, 8), torch.rand(1, 4, 2, 2)
    kept_x, kept_z, kept = x.clone(), z.clone(), {n: t.clone() for n, t in weights.items()}
    vae.encode(x), vae.decode(z)
    assert torch.equal(x, kept_x) and torch.equal(z, kept_z)
    assert all(torch.equal(t, kept[n]) for n, t in weights.items())


def test_gradients_flow():
    """The same ops train: nothing is done in place that a gradient needs."""
    vae = from_weights(random_weights("kl", small_kl()))
    vae.network.requires_grad_(True)
    z = torch.rand(1, 4, 2, 2, requires_grad=True)
    whole.run(vae.network.decode_ops(), z).square().mean().backward()
    assert z.grad.abs().sum() > 0
    assert all(p.grad is not None for p in vae.network.decoder.parameters())


@torch.no_grad()
def test_every_op_is_announced():
    vae, seen, ended = from_weights(random_weights("kl", small_kl())), [], []
    ops = vae.network.decode_ops()

    class Told(Observer):
        def begin_op(self, op):
            seen.append(op)

        def end_op(self, op, result):
            assert op is seen[-1] and isinstance(result, torch.Tensor)
            ended.append(op)

    whole.run(ops, torch.rand(1, 4, 2, 2), Told())
    assert seen == ended == list(leaves(ops))
