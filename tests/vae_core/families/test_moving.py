"""Moving a VAE where there is no memory for it."""

import pytest
import torch
from exact_vae.vae_core import from_weights
from exact_vae.vae_core.families.moving import move
from support.random_networks import random_weights, small_kl
from torch.utils._python_dispatch import TorchDispatchMode


class FailingCopy(TorchDispatchMode):
    """The tenth copy finds no memory."""

    def __init__(self):
        super().__init__()
        self.left = 10

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default:
            self.left -= 1
            if not self.left:
                raise torch.OutOfMemoryError("CUDA out of memory.")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.float64), ("cpu:0", torch.bfloat16)])
def test_without_memory_to_move_to_a_vae_stays_as_it_was(device, dtype):
    """All of it: a half of it elsewhere could not run any more. 'cpu:0' stands for another device."""
    vae = from_weights(random_weights("kl", small_kl(), torch.float32))
    before = {name: t.clone() for name, t in vae.network.state_dict().items()}
    with pytest.raises(torch.OutOfMemoryError), FailingCopy():
        move(vae.network, torch.device(device), dtype)
    after = vae.network.state_dict()
    assert all(after[name].dtype is t.dtype and torch.equal(after[name], t) for name, t in before.items())
