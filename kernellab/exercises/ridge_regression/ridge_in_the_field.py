"""Exercises of the lab in the field: a delay's loss, the beacons to keep, three numbers a pixel.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import numpy as np

from kernellab.lab.exercises import Exercise, Wrong, call, expect, expect_close, expect_shape
from kernellab.methods.ridge_regression import ridge_in_the_field as methods

# --- 1. Three numbers a pixel -------------------------------------------------------------------


def edge_features(image):
    """Return |horizontal|, |vertical| and |second| difference of every pixel, (h, w, 3)."""
    p = np.pad(image, 1, mode="edge")
    left, right, above, below = p[1:-1, :-2], p[1:-1, 2:], p[:-2, 1:-1], p[2:, 1:-1]
    second = left + right + above + below - 4 * image
    return np.stack([np.abs(right - left), np.abs(below - above), np.abs(second)], axis=2)


def _features(p, image):
    left, right, above, below = p[1:-1, :-2], p[1:-1, 2:], p[:-2, 1:-1], p[2:, 1:-1]
    return np.stack([right - left, below - above, left + right + above + below - 4 * image], axis=2)


def _black_around(image):
    return np.abs(_features(np.pad(image, 1), image))


def _wraps_around(image):
    return np.abs(_features(np.pad(image, 1, mode="wrap"), image))


def _keeps_the_sign(image):
    return _features(np.pad(image, 1, mode="edge"), image)


def _cuts_the_border(image):
    return np.abs(_features(image, image[1:-1, 1:-1]))


def _swaps_directions(image):
    return edge_features(image)[:, :, [1, 0, 2]]


def _check_edge_features(candidate):
    flat = np.full((4, 6), 0.7)
    got = call(candidate, flat, on="on a picture of one grey")
    expect_shape(got, (4, 6, 3), "every pixel has three numbers, those at the border too")
    expect_close(
        got, np.zeros((4, 6, 3)), "a picture of one grey has no edges, so all is 0; outside, the "
        "picture goes on as its last pixel (it does not turn black)",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    image = rng.random((5, 7))
    want = methods.edge_features(image, 0)
    got = np.asarray(call(candidate, image, on="on random greys"))
    if not np.allclose(got, want) and np.allclose(np.abs(got), want):
        expect(
            False, "an edge from dark to light counts as one from light to dark: absolute values"
        )
    if np.allclose(got[:, :, [1, 0, 2]], want):
        expect(False, "the first number compares left and right, which are columns, not rows")
    if np.allclose(got[1:-1, 1:-1], want[1:-1, 1:-1]) and not np.allclose(got, want):
        expect(False, "inside all is right, but at the border you look at the opposite side: "
               "repeat the last pixel there")  # fmt: skip
    expect_close(got, want, "these are |right - left|, |below - above| and |their sum - 4 I|")
    tall = rng.random((9, 3))
    expect_close(
        call(candidate, tall, on="on a tall picture"), methods.edge_features(tall, 0),
        "rows and columns are not equally many",
    )  # fmt: skip


EDGE_FEATURES = Exercise(
    id="ridge_in_the_field/edge_features",
    title="Three numbers for every pixel",
    task="""
    For a grey picture `image` (h, w), return an array (h, w, 3) that holds for every pixel

    1. $|\\text{right} - \\text{left}|$,
    2. $|\\text{below} - \\text{above}|$,
    3. $|\\text{left} + \\text{right} + \\text{above} + \\text{below} - 4\\, I|$,

    computed from its four neighbours. Outside, the picture goes on as its last pixel.
    """,
    function="edge_features",
    check=_check_edge_features,
    solution=edge_features,
    wrong=[
        Wrong("takes black for what lies outside", _black_around, says="does not turn black"),
        Wrong("looks at the opposite side", _wraps_around, says="the opposite side"),
        Wrong("keeps the sign", _keeps_the_sign, says="dark to light"),
        Wrong("cuts the border off", _cuts_the_border, says="three numbers"),
        Wrong("swaps rows and columns", _swaps_directions, says="which are columns"),
    ],
    hints=[
        '`p = np.pad(image, 1, mode="edge")` is the picture with one more pixel on every side.',
        "`p[1:-1, 2:]` is every pixel's right neighbour.",
    ],
)


# --- 2. Beacons to keep -------------------------------------------------------------------------


def select_beacons(by_pose, keep):
    """Return the ``keep`` beacons with the smallest share of pose in their signal, ascending."""
    nuisance = by_pose.var(axis=0).mean(axis=0)
    signal = by_pose.mean(axis=0).var(axis=0)
    return np.sort(np.argsort(nuisance / signal)[:keep])


def _keeps_the_worst(by_pose, keep):
    ratio = by_pose.var(axis=0).mean(axis=0) / by_pose.mean(axis=0).var(axis=0)
    return np.sort(np.argsort(ratio)[-keep:])


def _forgets_the_signal(by_pose, keep):
    return np.sort(np.argsort(by_pose.var(axis=0).mean(axis=0))[:keep])


def _averages_poses_away(by_pose, keep):
    return np.sort(np.argsort(-by_pose.mean(axis=0).var(axis=0))[:keep])


def _strongest(by_pose, keep):
    return np.sort(np.argsort(-by_pose.mean(axis=(0, 1)))[:keep])


def _check_select_beacons(candidate):
    rng = np.random.default_rng(0)
    for beacons, planted in ((6, [1, 4]), (9, [0, 3, 8])):
        place = rng.normal(-70, 6, (40, beacons))
        by_pose = place + rng.normal(0, 0.3, (3, 40, beacons))
        by_pose[:, :, planted] += rng.normal(0, 9, (3, 40, len(planted)))
        place_free = np.full(40, -80.0)
        steady = np.setdiff1d(np.arange(beacons), planted)
        dull = steady[0]
        by_pose[:, :, dull] = place_free + rng.normal(0, 0.1, (3, 40))
        # Loud means little: the planted beacons are also the strongest on average.
        by_pose[:, :, planted] += 15
        keep = len(steady) - 1
        got = call(candidate, by_pose, keep, on=f"with {beacons} beacons")
        expect_shape(got, (keep,), "return as many indices as are to be kept")
        got = np.asarray(got)
        expect(
            np.array_equal(got, np.sort(got)), "return the indices in ascending order, each once"
        )
        if set(planted) <= set(got.tolist()) and len(planted) < keep:
            means = by_pose.mean(axis=(0, 1))
            loudest = np.sort(np.argsort(-means)[:keep])
            if np.array_equal(got, loudest):
                expect(False, "you keep the loudest beacons; how loud one is says nothing about "
                       "how it changes with the pose")  # fmt: skip
            averaged = np.sort(np.argsort(-by_pose.mean(axis=0).var(axis=0))[:keep])
            if np.array_equal(got, averaged):
                expect(False, "you look at the mean over poses only, in which what the pose does "
                       "is averaged away: measure the variance across poses too")  # fmt: skip
            expect(False, "the beacons that change with the pose are still there: keep those with "
                   "the smallest ratio")  # fmt: skip
        expect(
            dull not in got,
            f"beacon {dull} hardly changes with the pose, but not with the place either: divide by "
            "the variance over places, for such a beacon tells nothing",
        )
        expect(
            np.array_equal(got, np.setdiff1d(steady, [dull])),
            "the beacons to keep are those whose signal is the place's and not the pose's",
        )


SELECT_BEACONS = Exercise(
    id="ridge_in_the_field/select_beacons",
    title="Which beacons to trust",
    task="""
    `by_pose` (P, M, N) holds the strength of N beacons at M places, recorded in P poses of the
    body. Score every beacon by

    $$v = \\frac{\\text{mean over places of the variance across poses}}
    {\\text{variance over places of the mean across poses}}$$

    and return the indices of the `keep` beacons with the smallest $v$, in ascending order.
    """,
    function="select_beacons",
    check=_check_select_beacons,
    solution=select_beacons,
    wrong=[
        Wrong("keeps the worst", _keeps_the_worst, says="the smallest ratio"),
        Wrong("forgets the signal", _forgets_the_signal, says="tells nothing"),
        Wrong("averages the poses away", _averages_poses_away, says="averaged away"),
        Wrong("takes the loudest", _strongest, says="loudest"),
    ],
    hints=[
        "`by_pose.var(axis=0)` is the variance across poses, (M, N).",
        "`np.argsort(v)[:keep]` are the smallest, by size; sort them once more by index.",
    ],
)


# --- 3. The loss of a delay ---------------------------------------------------------------------


def delay_loss(ta, xa, tb, xb, delay, bandwidth):
    """Return the mean squared residual of both predictions, divided by the share compared."""
    near = np.exp(-((tb[:, None] - delay - ta) ** 2) / (2 * bandwidth**2))
    residual = np.concatenate(
        [xb - near @ xa / near.sum(axis=1), near.T @ xb / near.sum(axis=0) - xa]
    )
    mass = np.concatenate([near.sum(axis=1), near.sum(axis=0)])
    weight = mass / (1 + mass)
    offset = np.average(residual, weights=weight)
    return np.average((residual - offset) ** 2, weights=weight) / weight.mean()


def _wrong_way(ta, xa, tb, xb, delay, bandwidth):
    return delay_loss(ta, xa, tb, xb, -delay, bandwidth)


def _keeps_the_offset(ta, xa, tb, xb, delay, bandwidth):
    near = np.exp(-((tb[:, None] - delay - ta) ** 2) / (2 * bandwidth**2))
    residual = np.concatenate(
        [xb - near @ xa / near.sum(axis=1), near.T @ xb / near.sum(axis=0) - xa]
    )
    mass = np.concatenate([near.sum(axis=1), near.sum(axis=0)])
    weight = mass / (1 + mass)
    return np.average(residual**2, weights=weight) / weight.mean()


def _one_direction(ta, xa, tb, xb, delay, bandwidth):
    near = np.exp(-((tb[:, None] - delay - ta) ** 2) / (2 * bandwidth**2))
    residual, mass = xb - near @ xa / near.sum(axis=1), near.sum(axis=1)
    weight = mass / (1 + mass)
    offset = np.average(residual, weights=weight)
    return np.average((residual - offset) ** 2, weights=weight) / weight.mean()


def _silence_wins(ta, xa, tb, xb, delay, bandwidth):
    near = np.exp(-((tb[:, None] - delay - ta) ** 2) / (2 * bandwidth**2))
    mass = np.concatenate([near.sum(axis=1), near.sum(axis=0)])
    share = np.mean(mass / (1 + mass))
    return delay_loss(ta, xa, tb, xb, delay, bandwidth) * share


def _check_delay_loss(candidate):
    rng = np.random.default_rng(0)
    close = {"rtol": 1e-6, "atol": 1e-12}
    ta, tb = np.sort(rng.uniform(0, 60, 25)), np.sort(rng.uniform(5, 70, 18))
    xa, xb = np.sin(ta / 9), np.sin((tb - 8) / 9) + 0.05 * rng.standard_normal(18)

    got = call(candidate, ta, xa, tb, xb, 8.0, 3.0, on="with B 8 days later than A")
    expect_shape(got, (), "the loss of one delay is one number")
    lifted = call(candidate, ta, xa, tb, xb + 5, 8.0, 3.0, on="with B raised by 5 magnitudes")
    expect_close(
        lifted, got, "raising B as a whole must change nothing: take the weighted mean of the "
        "residuals away first", **close,
    )  # fmt: skip
    swapped = call(candidate, tb, xb, ta, xa, -8.0, 3.0, on="with A and B swapped, delay -8")
    expect_close(
        swapped, got, "swapping the images and the sign of the delay must change nothing: predict "
        "B from A and also A from B", **close,
    )  # fmt: skip
    want = delay_loss(ta, xa, tb, xb, 8.0, 3.0)
    if np.isclose(got, delay_loss(ta, xa, tb, xb, -8.0, 3.0)):
        expect(False, "you shift the wrong way: B comes later, so its clock is set back by delay")
    if np.isclose(got, _silence_wins(ta, xa, tb, xb, 8.0, 3.0)):
        expect(False, "the last division is missing: by the mean of the weights, so that a delay "
               "which compares little cannot win by silence")  # fmt: skip
    expect_close(got, want, "follow the three steps: residuals, weights m / (1 + m), loss", **close)
    for delay, bandwidth in ((0.0, 5.0), (-12.5, 9.0)):
        expect_close(
            call(candidate, ta, xa, tb, xb, delay, bandwidth, on=f"with delay {delay}"),
            delay_loss(ta, xa, tb, xb, delay, bandwidth),
            f"for delay {delay} and bandwidth {bandwidth}", **close,
        )  # fmt: skip


DELAY_LOSS = Exercise(
    id="ridge_in_the_field/delay_loss",
    title="How well does a delay fit?",
    task="""
    Curve A has readings `xa` (n,) at days `ta`; curve B, `delay` days later, `xb` (m,) at `tb`.
    With $e_{ji} = \\exp(-(t_{B,j} - \\text{delay} - t_{A,i})^2 / 2h^2)$, $h$ = `bandwidth`:

    1. predict each reading of B by the average of A with weights $e_{ji}$ and each of A by the
       average of B; residuals $r$ are B minus predicted B, and predicted A's partner (the average
       of B) minus A: n + m of them, all estimates of the offset between the images;
    2. weigh each by $w = m / (1 + m)$, where $m$ is the sum of its $e$'s;
    3. take off the weighted mean of $r$, and return the weighted mean of the squares divided by the
       mean of the weights.
    """,
    function="delay_loss",
    check=_check_delay_loss,
    solution=delay_loss,
    wrong=[
        Wrong("shifts the wrong way", _wrong_way, says="the wrong way"),
        Wrong("keeps the offset", _keeps_the_offset, says="raising B"),
        Wrong("predicts in one direction", _one_direction, says="swapping the images"),
        Wrong("lets silence win", _silence_wins, says="win by silence"),
    ],
    hints=[
        "`near = np.exp(-((tb[:, None] - delay - ta) ** 2) / (2 * bandwidth**2))`, (m, n).",
        "`near @ xa / near.sum(axis=1)` is B predicted from A; transpose for the other.",
    ],
)

EXERCISES = (EDGE_FEATURES, SELECT_BEACONS, DELAY_LOSS)
