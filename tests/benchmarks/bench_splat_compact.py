"""The compact scenes lab beside its peers: k-means in tiles, a graph filter, and coding."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.methods.gaussian_splatting import splat_compact as sc


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for count in (400, 4000):
        yield clustering(count)
    for count in (400, 1600):
        yield filtering(count)
    for count in (4400, 44000):
        yield coding(count)


def splats(count: int) -> dict:
    """Splats on the surface of the toy scene, with sizes and opacities of their own."""
    rng = np.random.default_rng(0)
    start = sc.start_space(sc.photographs(views=4), count, rng)
    start["log_scales"] = start["log_scales"] + 0.3 * rng.standard_normal((count, 3))
    return start | {"logits": start["logits"] + rng.standard_normal(count)}


def clustering(count: int) -> Row:
    """Prototypes for a quarter of the splats in 12 tiles; the peer clusters them all at once."""
    scene = splats(count)
    anchors = sc.start_anchors(sc.photographs(views=4), 12)["anchors"]

    rows = sc.splat_rows(scene)

    def scatter(label):
        """Return the mean squared distance of the splats' attributes to those of their group."""
        sizes = np.bincount(label)
        sums = np.stack([np.bincount(label, column) for column in rows.T], axis=1)
        return np.mean((rows - (sums / np.maximum(sizes, 1)[:, None])[label]) ** 2)

    def scikit_learn():
        from sklearn.cluster import KMeans

        peer = KMeans(count // 4, init="random", n_init=1, max_iter=20, tol=0, random_state=0)
        label = peer.fit_predict(rows)
        sc.merge_splats(scene, label, count // 4)
        return scatter(label)

    return Row(
        "prototypes in tiles",
        f"n={count}, k={count // 4}",
        lambda: scatter(sc.prototypes(scene, 0.25, anchors).label),
        {"scikit-learn, one tile": scikit_learn},
        tolerance=0.5,  # tiles cost a little scatter
    )


def filtering(count: int) -> Row:
    """A smooth band-pass on a neighbour graph, against the eigenvectors of its Laplacian."""
    scene = splats(count)
    signal = sc.splat_rows(scene)
    graph = sc.neighbour_graph(scene["means"], 8)

    def response(frequency):
        return np.exp(-8.0 * (frequency - 1.0) ** 2)

    def eigenvectors():
        from scipy.linalg import eigh

        degrees = np.asarray(graph.sum(axis=1)).ravel()
        root = np.sqrt(degrees)
        dense = np.eye(count) - graph.toarray() / root[:, None] / root
        values, vectors = eigh(dense)
        middle = vectors.T @ (root[:, None] * signal)
        return vectors @ (response(values)[:, None] * middle) / root[:, None]

    return Row(
        "graph filter",
        f"n={count}, 10 signals",
        lambda: sc.graph_filter(graph, signal, response, 30),
        {"SciPy eigh": eigenvectors},
        tolerance=1e-6,
    )


def coding(count: int) -> Row:
    """Rounded Gaussians, each with its own mean and spread, to words; compared is their length."""
    rng = np.random.default_rng(0)
    mean, sigma = 5.0 * rng.standard_normal(count), np.exp(rng.standard_normal(count))
    symbols = np.floor(mean + sigma * rng.standard_normal(count) + 0.5).astype(np.int64)

    def constriction():
        import constriction

        family = constriction.stream.model.QuantizedGaussian(int(symbols.min()), int(symbols.max()))
        encoder = constriction.stream.queue.RangeEncoder()
        encoder.encode(symbols.astype(np.int32), family, mean, sigma)
        return 32 * len(encoder.get_compressed())

    return Row(
        "encode",
        f"n={count}",
        lambda: 32 * len(sc.encode(symbols, mean, sigma)),
        {"constriction": constriction},
        tolerance=0.02,
    )
