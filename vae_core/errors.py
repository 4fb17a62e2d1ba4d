"""What can go wrong, said in one sentence to the person who can act.

VAEError                         all of them; nodes and the command line print the sentence as it is
├── UnknownCheckpoint            no family of VAEs fits the file
│   └── UnsupportedCheckpoint    the file is recognised, but its network is not run
├── BrokenCheckpoint             the file is damaged, or lacks tensors of its family
├── LatentMismatch               the latent is not this VAE's
├── BadPixels                    pixels of the wrong shape, dtype or range
├── NumericalOverflow            numbers that are not finite, in the latent or in the result
├── BadRequest                   an option, a file or a device that cannot be used
└── DoesNotFit                   more memory is needed than there is

    try:
        pixels = vae.decode(latent)
    except DoesNotFit as e:
        print(e)
"""

import contextlib
import errno
import importlib
import re
import typing

import torch

__all__ = [
    "LONGEST_SENTENCE",
    "LONGEST_WORD",
    "BadPixels",
    "BadRequest",
    "BrokenCheckpoint",
    "DoesNotFit",
    "LatentMismatch",
    "NumericalOverflow",
    "UnknownCheckpoint",
    "UnsupportedCheckpoint",
    "VAEError",
    "explain_os_errors",
    "forget_frames",
    "is_out_of_memory",
    "may_be_out_of_memory",
    "naming_memory",
    "say_why",
    "shorten",
    "some",
]

# Names in files may have millions of letters, and sentences repeat them.
LONGEST_WORD = 300  # letters without a space that a sentence shows whole; a file's name has 255 at most
LONGEST_SENTENCE = 3000  # letters

# What libraries that raise only RuntimeError say, in small letters, when there was no memory left.
_NO_MEMORY = (
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
_NO_ENGINE = (
    "unable to find an engine",  # cuDNN, through torch's GET and FIND
    "miopenstatusunknownerror",  # of AMD's GPUs
    "miopenstatusinternalerror",
)


class VAEError(Exception):
    """Any error of this library. Catch it to print its sentence: what you gave, what was found, what to do."""

    _home = __name__  # the module that the class is in

    def __init_subclass__(cls) -> None:
        """Whoever shows the class with its module, as a traceback and a node do, shows its name alone.

        The module is called after the folder of the installation, which tells a user nothing.
        """
        super().__init_subclass__()
        cls._home, cls.__module__ = cls.__module__, "builtins"

    def __init__(self, *said: typing.Any):
        super().__init__(*(shorten(one) if isinstance(one, str) else one for one in said))

    def __reduce__(self) -> tuple[typing.Any, ...]:
        return _make_again, (self._home, type(self).__qualname__, self.args, self.__dict__)


VAEError.__module__ = "builtins"


class UnknownCheckpoint(VAEError):
    """You meet it in `load`, `inspect` and `detect`, for a file whose names and shapes fit no family of VAEs.

    It names the family that comes nearest and what the file lacks. Check that it is a VAE, or holds one.
    """


class UnsupportedCheckpoint(UnknownCheckpoint):
    """You meet it in `load`, `inspect` and `detect`, for a VAE that is known by name but not run here.

    Use the model's own code. title: whose VAE it is.
    """

    def __init__(self, sentence: str, title: str = ""):
        super().__init__(sentence)
        self.title = title


class BrokenCheckpoint(VAEError):
    """You meet it in `load`, `inspect` and `from_weights`, for a file that cannot be read, or lacks tensors.

    It names the tensors that are missing, unexpected or misshapen. Download or convert the file again.
    """


class LatentMismatch(VAEError):
    """You meet it in `decode`, `convert` and `preview`, for a latent of another VAE, or what is no latent.

    It names both. Use the VAE of the model that made the latent.
    """


class BadPixels(VAEError):
    """You meet it in `encode`, for pixels that are not finite, not in [-1, 1], or not of shape (B, C, H, W).

    It says what was found and what is needed.
    """


class NumericalOverflow(VAEError):
    """You meet it in `encode` and `decode`, when numbers are not finite.

    It says whether the latent was broken before, or the VAE overflowed: then run it in bf16 or fp32.
    count: how many numbers of the result are not finite.
    """

    def __init__(self, sentence: str, count: int = 0):
        super().__init__(sentence)
        self.count = count


class BadRequest(VAEError):
    """You meet it anywhere, for an option, a path, a device, a dtype or a half of a VAE that is not there.

    It names the choices there are.
    """


class DoesNotFit(VAEError):
    """You meet it in `encode`, `decode` and `plan`, when even the smallest plan needs more memory than it may use.

    It says how much is needed, or what memory ran out in; the methods of a posterior raise it too. Use a larger
    budget, a smaller image or bf16.
    """


def say_why(error: Exception) -> str:
    """What an error says for people: of the system's errors the words without their number and path."""
    words = error.strerror if isinstance(error, OSError) else None
    return words or str(error) or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Does this say that there was no memory left? What CPUs, Metal and libraries of CUDA raise only its words tell."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or _says(error, _NO_MEMORY)


def may_be_out_of_memory(error: BaseException) -> bool:
    """Does this say so, or what is also said where there is no memory? In less of it the same may run."""
    return is_out_of_memory(error) or _says(error, _NO_ENGINE)


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    """Is this a RuntimeError with any of these words, which are in small letters?"""
    said = str(error).lower() if isinstance(error, RuntimeError) else ""
    return any(one in said for one in words)


@contextlib.contextmanager
def naming_memory(what: str, cure: str = "use a smaller image or batch") -> typing.Iterator[None]:
    """Within it memory that runs out is said to be what a person was doing. Also a decorator. Raises DoesNotFit.

    what: "sampling a latent". The error that it came of is its cause, without the frames, which hold tensors.
    """
    try:
        yield
    except Exception as e:
        if not is_out_of_memory(e):
            raise
        raise DoesNotFit(f"{what} ran out of memory: {cure}.") from forget_frames(e)


def forget_frames(error: BaseException) -> BaseException:
    """The error, and those that it came of, without the frames that they were raised in: these hold tensors."""
    one: BaseException | None = error
    while one:
        one.__traceback__ = None
        one = one.__context__
    return error


def shorten(text: str) -> str:
    """The text, without the middles of words and sentences that nobody reads; on one line.

    Names in files may hold what ends lines and what makes a terminal do other things than show text.
    """
    text = re.sub(r"[\x00-\x1f\x7f-\x9f]", _escape, text)
    text = re.sub(rf"\S{{{LONGEST_WORD + 1},}}", _shorten_word, text)
    if len(text) <= LONGEST_SENTENCE:
        return text
    return f"{text[: LONGEST_SENTENCE - 1000]} ... {text[-900:]}"


def _escape(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]


def _shorten_word(found: re.Match[str]) -> str:
    return f"{found[0][: LONGEST_WORD - 100]}...{found[0][-90:]}"


def _make_again(home: str, name: str, said: tuple[typing.Any, ...], more: dict[str, typing.Any]) -> VAEError:
    """For copies, and for what comes from another process."""
    error = getattr(importlib.import_module(home), name)(*said)
    error.__dict__.update(more)
    return error


@contextlib.contextmanager
def explain_os_errors(failed: str) -> typing.Iterator[None]:
    """Turn an OSError inside the `with` into a BadRequest: what failed, as "'a.png' cannot be read", and why."""
    try:
        yield
    except OSError as error:
        raise BadRequest(f"{failed}: {error.strerror or error}.") from error


def some(names, most: int = 3) -> str:
    """'a, b, c and 5 more': the first `most` names, for sentences about many."""
    names = list(names)
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
