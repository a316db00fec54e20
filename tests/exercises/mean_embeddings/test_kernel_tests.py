"""The solutions pass, and every typical wrong answer hears its own sentence."""

import itertools

import numpy as np
import pytest

from kernellab.compute.kernels import Gaussian
from kernellab.compute.stein import stein_gram
from kernellab.exercises.mean_embeddings import kernel_tests as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.mean_embeddings import kernel_tests as kt


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    payoffs = rng.uniform(-1, 1, 50)
    path, stop = exercises.wealth(payoffs, np.full(50, 0.4), 0.5)
    assert np.allclose(path, kt.wealth(payoffs, 0.4))
    assert (np.inf if stop is None else stop) == kt.stopping_time(path, 0.5)

    for d in (1, 5):
        x, scores = rng.normal(size=(2, 20, d))
        assert np.allclose(
            exercises.stein_gram_of(x, scores, 0.8), stein_gram(Gaussian(0.8), x, scores)
        )

    chain = kt.StringModel([0.6, 0.4], [[0.7, 0.3], [0.4, 0.6]], end=0.3, longest=3)
    words = ["".join(w) for n in (1, 2, 3) for w in itertools.product("ab", repeat=n)]
    strings = kt.from_words(words, "ab", 3)
    near, origin = kt.neighbours(strings, 2, where="anywhere")
    adjacent = np.zeros((len(words), len(words)))
    adjacent[origin, [words.index(word) for word in near.words("ab")]] = 1
    p = np.exp(chain.log_probability(strings))
    expected = kt.string_stein_features(strings, chain.log_probability, 2, where="anywhere")
    features = kt.string_features(strings, 2)
    for column in range(features.shape[1]):
        got = exercises.zanella_stein(p, adjacent, features[:, column])
        assert np.allclose(got, expected[:, column])


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
