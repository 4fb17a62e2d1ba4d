"""The pack in every Python and torch that pyproject.toml promises: nox -f tests/noxfile.py, or make matrix.

Each pair has an environment of its own, which is kept. It runs a few files of tests that reach every package; name
others behind `--`: nox -f tests/noxfile.py -s 'matrix(3.10 and torch 2.5.0)' -- tests/vae_core. A Python that is not
there is skipped, and nox says so.

EXACT_VAE_TORCH_INDEX names another index of torch's wheels than that of its builds for CPUs.
"""

import os

import nox

OLDEST, NEWEST = "2.5.0", "2.13.0"  # torch: what pyproject.toml asks for, and the one that the tests are written with
PAIRS = [("3.10", OLDEST), ("3.10", NEWEST), ("3.11", NEWEST), ("3.12", OLDEST), ("3.12", NEWEST), ("3.13", NEWEST)]
INDEX = os.environ.get("EXACT_VAE_TORCH_INDEX", "https://download.pytorch.org/whl/cpu")
QUICK = (
    "tests/test_arrows.py",
    "tests/test_importing.py",
    "tests/vae_core/families/test_kl.py",
    "tests/vae_core/families/test_wan.py",
    "tests/vae_core/execution/test_streaming.py",
    "tests/vae_core/latents",
    "tests/nodes/test_contract.py",
    "tests/nodes/test_nodes.py",
    "tests/cli/test_manners.py",
    "tests/headless",
)

nox.options.reuse_existing_virtualenvs = True


@nox.session
@nox.parametrize(["python", "torch"], PAIRS, ids=[f"{python} and torch {torch}" for python, torch in PAIRS])
def matrix(session: nox.Session, torch: str) -> None:
    session.chdir("..") if os.path.basename(os.getcwd()) == "tests" else None
    session.install(f"torch=={torch}", "--index-url", INDEX)
    session.install("-e", ".[test]", f"torch=={torch}")
    session.run("python", "-m", "pytest", "-n0", "-q", *(session.posargs or QUICK))
