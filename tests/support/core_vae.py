"""What core's VAE class is to this pack."""

from types import SimpleNamespace
from typing import Any


class CoreVAE:
    """Halves are methods of the class; the model, its patcher and what changes a range are attributes."""

    patcher: Any
    process_input: Any
    process_output: Any

    def __init__(self, **attributes: Any):
        self.patcher = SimpleNamespace(patches={})
        self.process_input = self.process_output = lambda image: image
        vars(self).update(attributes)

    def encode(self, pixels): ...

    def decode(self, samples): ...
