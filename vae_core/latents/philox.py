"""Gaussian noise as PyTorch draws it on an NVIDIA GPU, computed on any machine.

The generator is Philox 4x32-10: Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3". In
cuRAND and PyTorch, thread t of the GPU counts in subsequence t. It makes four 32-bit numbers at a time, turns them into
two pairs of Gaussians (Box & Muller 1958), and writes these one grid of threads apart. While a tensor has no more
numbers than the GPU has threads, each number is the first of its thread, and all GPUs agree.
"""

import math

import numpy as np

Words = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

# Constants of Philox 4x32-10, from the paper.
ROUNDS = 10
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))  # added to the key between rounds: golden ratio, sqrt(3) - 1
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
# aten/src/ATen/native/cuda/DistributionTemplates.h of PyTorch: threads in a block, numbers a thread makes at a time
BLOCK = 256
UNROLL = 4


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Four 32-bit words for each counter of four words: uint64 arrays of one shape, values below 2**32."""
    a, b, c, d = counter
    k0, k1 = (np.uint64(k) for k in key)
    for _ in range(ROUNDS):
        first, second = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b, c, d = (second >> HALF) ^ b ^ k0, second & LOW, (first >> HALF) ^ d ^ k1, first & LOW
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    return a, b, c, d


class NvidiaStream:
    """The generator of a GPU. Each call of `numbers` continues where the last one ended.

    threads   how many threads the GPU runs at once (multiprocessors x threads of each, 270 336 on an H100). Tensors
              with more numbers depend on it. None: as many as numbers, which is the same on every machine.
    """

    def __init__(self, seed: int, threads: int | None = None):
        self.key = (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF)
        self.threads, self.offset = threads, 0

    def numbers(self, n: int) -> np.ndarray:
        """The next n numbers, (n,) float32, mean 0 and variance 1. They are PyTorch's to rounding, about 1e-6."""
        grid = min(-(-n // BLOCK) * BLOCK, self.threads or n + BLOCK)
        index = np.arange(n, dtype=np.uint64)
        turn, thread = index // np.uint64(grid), index % np.uint64(grid)
        step = turn // np.uint64(UNROLL) + np.uint64(self.offset)
        words = philox((step & LOW, step >> HALF, thread & LOW, thread >> HALF), self.key)
        self.offset += -(-n // (grid * UNROLL))
        pairs = (*_box_muller(*words[:2]), *_box_muller(*words[2:]))
        return np.choose((turn % np.uint64(UNROLL)).astype(np.intp), pairs).astype(np.float32)


def _box_muller(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two words -> two Gaussians, the sine first as in cuRAND, whose uniform numbers are float32 and never 0."""
    step = np.float32(2**-32)
    u = x.astype(np.float32) * step + step / 2
    turn = np.float32(2**-32 * 2 * math.pi)
    v = (y.astype(np.float32).astype(np.float64) * turn + turn / 2).astype(np.float32)
    radius = np.sqrt(-2 * np.log(u.astype(np.float64)))
    return radius * np.sin(v.astype(np.float64)), radius * np.cos(v.astype(np.float64))
