"""Plain references for clustering, to be checked by eye."""

import numpy as np


def nearest_centres(points, centres):
    """The nearest centre of each point, and the squared distance to it, by two loops."""
    label, squared = [], []
    for point in points:
        gaps = [np.sum((point - centre) ** 2) for centre in centres]
        label.append(int(np.argmin(gaps)))
        squared.append(min(gaps))
    return np.array(label), np.array(squared)


def lloyd(points, weights, centres, steps):
    """Weighted k-means from given centres, none of which may lose all its weight."""
    for _ in range(steps):
        label, _ = nearest_centres(points, centres)
        centres = np.array(
            [
                np.average(points[label == i], axis=0, weights=weights[label == i])
                for i in range(len(centres))
            ]
        )
    return centres
