"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.compute.attention import neighbourhood_windows, softmax_attention
from kernellab.exercises.attention import attention_on_grids as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.attention import attention_on_grids as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    q, keys, v = rng.normal(size=(5, 3)), rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    scores = q @ keys.T
    chunks = [(scores[:, :4], v[:4]), (scores[:, 4:], v[4:])]
    want = softmax_attention(q, keys, v, scale=1.0)
    assert np.allclose(exercises.online_softmax(chunks), want)

    windows = neighbourhood_windows(20, 5, 3)
    for i in range(20):
        assert exercises.na_window(i, 20, 5, 3).tolist() == windows[i].tolist()

    k, values = 50 * rng.normal(size=30), rng.normal(size=30)
    for w, u in ((3.0, 1.0), (-40.0, 2.0)):
        want = methods.bi_wkv(w, u, k[:, None], values[:, None])[:, 0]
        assert np.allclose(exercises.bi_wkv(w, u, k, values), want)


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
