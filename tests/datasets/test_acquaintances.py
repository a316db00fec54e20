"""Social graphs: sizes, symmetry, and what is known of their people."""

import numpy as np
import pytest

from kernellab.datasets import social_graph


@pytest.mark.parametrize(
    ("name", "nodes", "edges"), [("karate", 34, 78), ("les_miserables", 77, 254)]
)
def test_sizes_and_symmetry(name, nodes, edges):
    graph = social_graph(name)
    assert len(graph.names) == nodes and graph.edges.shape == (edges, 2)
    assert (graph.edges[:, 0] < graph.edges[:, 1]).all() and graph.edges.max() == nodes - 1
    plain, weighted = graph.adjacency(), graph.adjacency(weighted=True)
    np.testing.assert_array_equal(weighted, weighted.T)
    np.testing.assert_array_equal(plain, weighted > 0)
    assert plain.sum() == 2 * edges and weighted.sum() == 2 * graph.weights.sum()


def test_they_are_about_whom_they_should_be():
    karate, novel = social_graph("karate"), social_graph("les_miserables")
    # The teacher (0) and the officer (33) have the most friends and are on different sides.
    assert set(np.argsort(karate.adjacency().sum(axis=0))[-2:]) == {0, 33}
    assert karate.groups[0] == 0 and karate.groups[33] == 1 and karate.groups.sum() == 17
    assert novel.names[np.argmax(novel.adjacency().sum(axis=0))] == "Valjean"
    assert novel.groups is None


@pytest.mark.parametrize("name", ["zachary", "", None, 3, ["karate"]])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="name must be 'karate' or 'les_miserables', got"):
        social_graph(name)
