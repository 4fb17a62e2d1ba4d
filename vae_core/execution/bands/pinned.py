"""Bands of CUDA in pinned memory of the host, copied on streams of their own, beside the computation.

    computing    [ band 1 ][ band 2 ][ band 3 ]               each band is put when it is made,
    to the host            [ band 1 ][ band 2 ][ band 3 ]     and fetched back while the one before it is computed
    to the device                             [ band 1 ][ band 2 ]

The host is ahead of the device by many bands. So whatever is used again must be in order by the streams alone:

- A band that goes to the host is kept until the computing stream has been told to wait for its copy: at the next `put`,
  when the band after it has been queued. Then its memory may be given out again in the order of that stream. Torch's
  `record_stream` would keep it until the host has seen the end of the copy, and so any number of bands.
- A band that comes back lies in memory of the computing stream, which others may still be using. So its copy waits for
  all that is queued when it is fetched, and the computation waits for the copy when it is taken.
- Memory of the host is free again when its band has been taken by all that read it. By then the computation waits for
  these copies. The next copy to that memory waits for the computation, and so for them.

That memory comes in pages of one size. Torch pins powers of two, of which a band that has a row more takes the double.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from .stores import StoredBand

SMALLEST, LARGEST = 2**16, 2**26  # bytes of a page


class InPinnedMemory:
    """A store in memory of the host, see stores.py. numbers: in a usual band."""

    def __init__(self, device: torch.device, numbers: int):
        self.device = device
        self.to_host, self.to_device = torch.cuda.Stream(device), torch.cuda.Stream(device)
        self.page, self.free = find_page(numbers), list[Tensor]()
        self.going: tuple[Tensor, torch.Event] | None = None
        self.coming: dict[int, Tensor] = {}  # by id, until they are taken
        self.held: set[_PinnedBand] = set()

    def put(self, band: Tensor) -> StoredBand:
        self.tidy()
        shape, band = band.shape, band.permute(0, 2, 3, 1).contiguous()  # as one piece, whatever it is a part of
        pages = self._get_pages(band.nbytes)
        self.to_host.wait_stream(self.computing)
        with torch.cuda.stream(self.to_host):
            for page, part in zip(pages, self._split(band), strict=True):
                page[: len(part)].copy_(part, non_blocking=True)
        self.going = band, self.to_host.record_event()
        held = _PinnedBand(self, pages, self.going[1], shape, band.dtype)
        self.held.add(held)
        return held

    def fetch(
        self, pages: list[Tensor], written: "torch.Event", shape: torch.Size, dtype: torch.dtype
    ) -> Callable[[], Tensor]:
        """Begin to copy a band, (B, C, H, W), from the pages to which it has been `written`. See `StoredBand.fetch`."""
        b, c, h, w = shape
        band = torch.empty((b, h, w, c), dtype=dtype, device=self.device)
        self.to_device.wait_stream(self.computing)
        self.to_device.wait_event(written)
        with torch.cuda.stream(self.to_device):
            for page, part in zip(pages, self._split(band), strict=True):
                part.copy_(page[: len(part)], non_blocking=True)
        self.coming[id(band)] = band
        return partial(self._take, id(band), self.to_device.record_event())

    def _take(self, key: int, arrival: "torch.Event") -> Tensor:
        self.computing.wait_event(arrival)
        return self.coming.pop(key).permute(0, 3, 1, 2)

    @property
    def computing(self) -> torch.cuda.Stream:
        return torch.cuda.current_stream(self.device)

    def _get_pages(self, size: int) -> list[Tensor]:
        n = -(-size // self.page)
        how = {"dtype": torch.uint8, "device": "cpu", "pin_memory": True}
        self.free += (torch.empty(self.page, **how) for _ in range(n - len(self.free)))
        pages, self.free = self.free[:n], self.free[n:]
        return pages

    def _split(self, band: Tensor) -> tuple[Tensor, ...]:
        """The bytes of a band in one piece, page by page."""
        return band.view(-1).view(torch.uint8).split(self.page)

    def tidy(self) -> None:
        """Let go of the band that went to the host last, in the order of the computation."""
        if self.going:
            self.computing.wait_event(self.going[1])
            self.going = None

    def close(self) -> None:
        """Let go of all that is held or on its way. Torch keeps memory of the host until its copies have ended."""
        self.tidy()
        self.computing.wait_stream(self.to_device)
        self.coming.clear()
        self.free.clear()
        for band in self.held:  # whoever knows it still: the frames of an error do
            band.pages.clear()
        self.held.clear()


class _PinnedBand(StoredBand):
    def __init__(
        self, store: InPinnedMemory, pages: list[Tensor], written: "torch.Event", shape: torch.Size,
        dtype: torch.dtype,
    ):  # fmt: skip
        self.store, self.pages, self.rows = store, pages, shape[-2]
        self.form = written, shape, dtype

    def fetch(self) -> Callable[[], Tensor]:
        return self.store.fetch(self.pages, *self.form)

    def get(self) -> Tensor:
        return self.fetch()()

    def release(self) -> None:
        self.store.free += self.pages
        self.pages = []
        self.store.held.discard(self)


def find_page(numbers: int) -> int:
    """Bytes of a page for bands of so many numbers: in half precision a band takes 8 to 16."""
    return min(LARGEST, max(SMALLEST, 1 << max(1, numbers // 4).bit_length() - 1))


def count_pages(size: int, bands: int, page: int) -> int:
    """Bytes of the pages that so many bands of `size` bytes together take at most."""
    return (size + bands * (page - 1)) // page * page
