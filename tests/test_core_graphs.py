"""core.graphs: generators are acyclic and of the right size; distances obey their definitions."""
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_repro.core.graphs import dag_metrics, is_dag, random_dag, random_weights, shd

dags = st.builds(lambda d, share, seed: random_dag(d, round(share * d * (d - 1) / 2), random_state=seed),
                 st.integers(2, 8), st.floats(0, 1), st.integers(0, 10_000))


def shd_by_definition(A, B):
    "Unordered pairs whose relation (none, forward, backward) differs."
    relation = lambda M, i, j: (bool(M[i, j]), bool(M[j, i]))
    return sum(relation(A, i, j) != relation(B, i, j) for i, j in itertools.combinations(range(len(A)), 2))


@settings(deadline=None, max_examples=50)
@given(dags)
def test_random_dags_are_acyclic_and_become_cyclic_when_an_edge_is_closed(A):
    assert is_dag(A)
    for i, j in np.argwhere(A)[:3]:
        closed = A.copy()
        closed[j, i] = True
        assert not is_dag(closed)


def test_edge_counts_of_both_families():
    assert random_dag(12, 24, random_state=0).sum() == 24
    assert random_dag(12, 24, graph="sf", random_state=0).sum() == 2 * (12 - 2)
    assert random_dag(5, 10, random_state=0).sum() == 10  # complete
    assert random_dag(1, 0, random_state=0).shape == (1, 1)
    for graph in ("er", "sf"):
        assert random_dag(6, 0, graph=graph, random_state=0).sum() == 0


def test_every_order_of_three_nodes_occurs():
    sources = {int(random_dag(3, 3, random_state=seed).sum(1).argmax()) for seed in range(50)}
    assert sources == {0, 1, 2}


def test_seeds_reproduce_and_differ():
    same = [random_dag(10, 20, random_state=3) for _ in range(2)]
    assert np.array_equal(*same)
    assert not np.array_equal(same[0], random_dag(10, 20, random_state=4))


@settings(deadline=None, max_examples=50)
@given(dags, st.integers(0, 1000))
def test_weights_live_on_the_edges_and_in_the_range(A, seed):
    W = random_weights(A, (0.7, 1.1), random_state=seed)
    assert np.array_equal(W != 0, A)
    assert np.all((np.abs(W[A]) >= 0.7) & (np.abs(W[A]) <= 1.1))


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 7), st.integers(0, 1000), st.integers(0, 1000))
def test_shd_matches_its_definition_and_is_a_metric(d, seed1, seed2):
    A, B, C = (random_dag(d, min(d, d * (d - 1) // 2), random_state=s) for s in (seed1, seed2, seed1 + seed2))
    assert shd(A, B) == shd_by_definition(A, B) == shd(B, A)
    assert shd(A, A) == 0
    assert shd(A, C) <= shd(A, B) + shd(B, C)


@settings(deadline=None, max_examples=30)
@given(dags, st.integers(0, 1000))
def test_metrics_ignore_the_labelling(A, seed):
    B = random_dag(len(A), int(A.sum()), random_state=seed)
    order = np.random.default_rng(seed).permutation(len(A))
    assert dag_metrics(A, B) == dag_metrics(A[np.ix_(order, order)], B[np.ix_(order, order)])


def test_metrics_of_known_graphs():
    A = np.zeros((4, 4))
    A[0, 1] = A[1, 2] = A[2, 3] = 0.8
    assert dag_metrics(A, A) == dict(shd=0, tpr=1, fdr=0, fpr=0, nnz=3)
    B = A.copy()
    B[0, 1], B[1, 0], B[0, 3], B[2, 3] = 0, 1, 1, 0  # one reversed, one extra, one missing
    assert dag_metrics(A, B) == dict(shd=3, tpr=1 / 3, fdr=2 / 3, fpr=2 / 3, nnz=3)
    assert dag_metrics(A, np.zeros((4, 4))) == dict(shd=3, tpr=0, fdr=0, fpr=0, nnz=0)


@pytest.mark.parametrize("call, name", [
    (lambda: random_dag(4, 7, random_state=0), "n_edges"),
    (lambda: random_dag(4, -1, random_state=0), "n_edges"),
    (lambda: random_dag(0, 0, random_state=0), "n_nodes"),
    (lambda: random_dag(4, 3, graph="ws", random_state=0), "graph"),
    (lambda: random_weights(np.eye(2, 3), random_state=0), "adjacency"),
    (lambda: random_weights(np.eye(2), (0.0, 1.0), random_state=0), "weight_range"),
    (lambda: random_weights(np.eye(2), (2.0, 1.0), random_state=0), "weight_range"),
    (lambda: is_dag(np.zeros(3)), "W"),
    (lambda: shd(np.zeros((3, 3)), np.zeros((2, 2))), "W_est"),
])
def test_bad_input_names_the_argument(call, name):
    with pytest.raises(ValueError, match=name):
        call()
