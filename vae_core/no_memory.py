"""The words in which libraries of devices say that there was no memory, or that there may have been none."""

from .errors import is_out_of_memory

# What libraries that raise only RuntimeError say, in small letters, when there was no memory left.
NO_MEMORY = (
    "out of memory",  # CUDA, HIP, XPU, Metal and Triton
    "not enough memory",  # torch on a CPU of Windows
    "can't allocate memory",  # torch on a CPU
    "cannot allocate memory",  # mmap
    "_alloc_failed",  # cuBLAS, hipBLAS and cuDNN before 9
    "_allocation_failed",  # cuDNN 9: of the device's memory and of the host's
    "invalid buffer size",  # Metal: one tensor is larger than it allows
    "out_of_device_memory",  # these three Level Zero, of Intel's GPUs
    "out_of_host_memory",
    "error_out_of_resources",
    "could not create a memory object",  # oneDNN
    "can not allocate memory block with size larger than",  # torch for Intel's GPUs without such blocks
)
# They may have had no memory to work in, which convolutions need beside their result; or cannot run such an op at all.
NO_ENGINE = (
    "unable to find an engine",  # cuDNN, through torch's GET and FIND
    "miopenstatusunknownerror",  # of AMD's GPUs
    "miopenstatusinternalerror",
)


def may_be_out_of_memory(error: BaseException) -> bool:
    """Does this say so, or what is also said where there is no memory? In less of it the same may run."""
    return is_out_of_memory(error) or says(error, NO_ENGINE)


def says(error: BaseException, words: tuple[str, ...]) -> bool:
    """Is this a RuntimeError with any of these words, which are in small letters?"""
    said = str(error).lower() if isinstance(error, RuntimeError) else ""
    return any(one in said for one in words)
