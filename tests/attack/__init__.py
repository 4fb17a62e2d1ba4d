"""Attacks: seeded generators of hostile input, and what must hold for each of it. See __main__.py."""

from attack.harness import Attack


def list_attacks() -> list[Attack]:
    """All attacks, of all modules here that have some."""
    from attack import arguments, images, kinds, names, tensors, workflows

    return [*workflows.ATTACKS, *names.ATTACKS, *images.ATTACKS, *arguments.ATTACKS, *tensors.ATTACKS,
            *kinds.ATTACKS]  # fmt: skip
