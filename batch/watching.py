"""Who watches a job as it goes on."""


def ignore(*counts: int) -> None:
    """Nobody watches."""
