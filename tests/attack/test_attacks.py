"""A few hundred cases of each attack, the same ones each time. All of them: `PYTHONPATH=tests python -m attack`."""

import pytest
from exact_vae.vae_core import BadRequest

from attack import list_attacks
from attack.harness import BAD, Attack, describe, judge, run


@pytest.mark.parametrize("attack", list_attacks(), ids=lambda attack: attack.name)
def test_nothing_is_bad(attack):
    count = run(attack, round(attack.full * attack.share))
    assert not count.bad, "\n\n".join(describe(attack.name, *one) for one in count.bad[:5])
    assert len(count.outcomes) == 2, "an attack of which all is refused, or nothing, tries too little"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (BadRequest("so it is."), "refused"),
        (BadRequest(""), BAD),
        (ValueError("x"), BAD),
        (RecursionError(), BAD),
        (None, "done"),
    ],
)
def test_the_harness_tells_bad_from_refused(tmp_path, error, outcome):
    def attempt(case, folder):
        if error:
            raise error

    assert judge(Attack("x", lambda rng: 0, attempt, 1), 0, tmp_path, None)[0] == outcome


def test_a_case_that_hangs_is_bad(tmp_path):
    def attempt(case, folder):
        while True:
            pass

    assert judge(Attack("x", lambda rng: 0, attempt, 1), 0, tmp_path, 1)[0] == BAD
