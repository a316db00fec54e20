import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from kernellab.compute import splatting as sp
from tests.naive import splatting as naive

pytestmark = pytest.mark.compiled

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=15)


def splats(n, height, width, channels=3, seed=0, sizes=(0.4, 4.0)):
    """Return means, covariances, opacities, features and a background; some lie outside."""
    rng = np.random.default_rng(seed)
    means = rng.uniform(-3.0, np.array([width, height]) + 3.0, (n, 2))
    covariances = sp.plane_covariances(
        np.log(rng.uniform(*sizes, (n, 2))), rng.uniform(0.0, 6.0, n)
    )
    features, background = rng.standard_normal((n, channels)), rng.standard_normal(channels)
    return means, covariances, rng.uniform(0.1, 1.0, n), features, background


def solid(solidity):
    return {"kernel": "gaussian" if solidity == 1.0 else "solid", "solidity": solidity}


# Against the loops


@pytest.mark.parametrize("solidity", [1.0, 2.5])
@pytest.mark.parametrize("blend", sp.BLENDS)
@pytest.mark.parametrize(("n", "height", "width", "channels"), [(1, 5, 7, 1), (60, 17, 24, 3)])
def test_images_are_the_loop(n, height, width, channels, blend, solidity):
    means, covariances, opacities, features, background = splats(n, height, width, channels)
    opacities[::3] = 1.0
    order = np.random.default_rng(1).permutation(n)
    raster = sp.rasterise(
        *(means, covariances, opacities, features),
        height=height,
        width=width,
        background=background,
        order=order,
        blend=blend,
        **solid(solidity),
    )
    image, light, last, hits = naive.pixel_image(
        *(means[order], covariances[order], opacities[order], features[order], background),
        *(height, width, blend, solidity),
    )
    np.testing.assert_allclose(raster.image, image, atol=1e-13)
    np.testing.assert_allclose(raster.transmittance, light, atol=1e-14)
    np.testing.assert_array_equal(raster.last, last)
    np.testing.assert_array_equal(raster.hits[order], hits)


def test_the_early_stop_is_the_loop():
    scene = splats(200, 9, 8)
    scene[2][:] = 1.0
    raster = sp.rasterise(*scene[:4], height=9, width=8, background=scene[4])
    image, light, last, hits = naive.pixel_image(*scene, 9, 8)
    assert (raster.transmittance < 1e-4).mean() > 0.5 and raster.last.min() < 150
    np.testing.assert_allclose(raster.image, image, atol=1e-13)
    np.testing.assert_allclose(raster.transmittance, light, atol=1e-17)
    np.testing.assert_array_equal(raster.last, last)
    np.testing.assert_array_equal(raster.hits, hits)


@pytest.mark.parametrize("solidity", [1.0, 3.0])
@pytest.mark.parametrize("blend", sp.BLENDS)
def test_gradients_agree_with_autograd_on_the_dense_image(blend, solidity):
    height, width = 13, 18
    means, covariances, opacities, features, background = splats(25, height, width)
    opacities *= 0.6
    opacities[3] = 1.0  # clamped near its centre
    means[3], covariances[3] = [9.4, 6.6], 6.0 * np.eye(2)
    rng = np.random.default_rng(1)
    upstream = rng.standard_normal((height, width, 3))
    light_upstream = rng.standard_normal((height, width))
    raster = sp.rasterise(
        *(means, covariances, opacities, features),
        height=height,
        width=width,
        background=background,
        blend=blend,
        **solid(solidity),
    )
    assert raster.transmittance.min() > 1e-4 or blend != "alpha"
    ours = sp.rasterise_gradients(raster, upstream, light_upstream)

    def loss(*inputs):
        image, light = naive.dense_image(*inputs, height, width, blend)
        return anp.sum(image * upstream) + anp.sum(light * light_upstream)

    inputs = (means, np.linalg.inv(covariances), opacities, features, background, solidity)
    expected = autograd.grad(loss, tuple(range(6)))(*inputs)
    found = (ours.means, ours.conics, ours.opacities, ours.features, ours.background)
    for mine, other in zip(found, expected, strict=False):
        np.testing.assert_allclose(mine, other, atol=1e-10 * np.abs(other).max())
    if solidity > 1.0:
        assert ours.solidity == pytest.approx(expected[5], rel=1e-10)
