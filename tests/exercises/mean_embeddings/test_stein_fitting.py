"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.compute.kernels import Gaussian
from kernellab.exercises.mean_embeddings import stein_fitting as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.mean_embeddings import stein_fitting as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng, kernel = np.random.default_rng(0), Gaussian(0.8)
    x, border, at = rng.normal(size=(30, 2)), rng.normal(size=(5, 2)), rng.normal(size=(7, 2))
    scores = -x
    free = methods.SteinObjective(kernel, x)
    pinned = methods.SteinObjective(kernel, x, boundary=border, ridge=0.0)
    found = exercises.project_out(
        free.witness(scores, at),
        free.witness(scores, border),
        kernel.gram(at, border),
        kernel.gram(border),
    )
    assert np.allclose(found, pinned.witness(scores, at), atol=1e-8)

    task = np.repeat([0, 1], [20, 10])
    values, coupling = np.sin(x[:, 0]), methods.pair_coupling(0.7)
    tasks = methods.TaskStein(kernel, x, scores, task)
    assert np.allclose(
        exercises.stein_cv(values, tasks.base, task, coupling, 1e-2),
        tasks.fit(values, coupling, 1e-2).estimates,
    )

    # The method learns c on one half; with the same formula on all people, person by person.
    treated, chance = rng.random(30) < 0.5, rng.uniform(0.3, 0.8, 30)
    gram = kernel.gram(x)
    c = methods.embedding_weights(kernel, x[treated], x, 0.5)
    rows = np.diag(treated / chance)
    rows[:, treated] += (1 - treated / chance)[:, None] * c
    assert np.allclose(exercises.dr_weights(treated, chance, gram, 0.5), rows.mean(axis=0))


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
