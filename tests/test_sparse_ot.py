"""Mathematics of prox_repro.transport.sparse_ot: the invariants of the method, the reference, the routers, and bad input."""
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_repro.core.ot import assignment, ot_exact
from prox_repro.core.prox import ksupport_sq, project_simplex
from prox_repro.transport.sparse_ot import (
    MixtureOfExperts, PatchClassifier, demo_problem, expert_choice_router, mixture_problem, quadratic_ot, random_problem,
    route_tokens, router_metrics, sinkhorn_plan, sinkhorn_router, solve_dual, solve_semidual, sparse_ot_bruteforce,
    sparse_ot_loss, sparse_ot_reference, top1_router, topk_conjugate, topk_simplex_conjugate,
)

SMALL = random_problem(9, 7, 3)


def semidual(alpha, a, b, C, k, gamma):
    "Semi-dual value and its gradient from the public conjugate."
    T = topk_simplex_conjugate(alpha[:, None] - C, b, k, gamma)
    return alpha @ a - T.value.sum(), a - T.plan.sum(1), T


# ---- the two conjugates

@given(st.integers(0, 10_000), st.integers(2, 6), st.data())
@settings(max_examples=40, deadline=None)
def test_conjugates_equal_the_best_over_all_supports(seed, m, data):
    k, rng = data.draw(st.integers(1, m)), np.random.default_rng(seed)
    S, b, gamma = 2 * rng.normal(size=(m, 3)), rng.uniform(0.1, 3, 3), rng.uniform(0.1, 4)
    free, tied = np.full(3, -np.inf), np.full(3, -np.inf)
    for support in combinations(range(m), k):
        s = S[list(support)]
        t = np.maximum(s, 0) / gamma
        free = np.maximum(free, (s * t).sum(0) - gamma / 2 * (t * t).sum(0))
        t = project_simplex(s / gamma, b, axis=0)
        tied = np.maximum(tied, (s * t).sum(0) - gamma / 2 * (t * t).sum(0))
    for result, best in ((topk_conjugate(S, k, gamma), free), (topk_simplex_conjugate(S, b, k, gamma), tied)):
        assert np.allclose(result.value, best, atol=1e-11)
        assert ((result.plan != 0).sum(0) <= k).all() and (result.plan >= 0).all()
        assert np.allclose((S * result.plan).sum(0) - gamma / 2 * (result.plan**2).sum(0), best, atol=1e-11)
    assert np.allclose(topk_simplex_conjugate(S, b, k, gamma).plan.sum(0), b, atol=1e-13)


@pytest.mark.parametrize("k", [1, 2, 5, 8, 9, 12])
def test_gradients_are_finite_differences(k):
    rng = np.random.default_rng(1)
    s, b, h = rng.normal(size=12), np.array([0.8]), 1e-6
    for function in (lambda S: topk_conjugate(S, k, 0.6), lambda S: topk_simplex_conjugate(S, np.repeat(b, S.shape[1]), k, 0.6)):
        values = function(s[:, None] + h * np.hstack([np.eye(12), -np.eye(12)])).value
        assert np.allclose((values[:12] - values[12:]) / (2 * h), function(s[:, None]).plan[:, 0], atol=1e-7)


@pytest.mark.parametrize("k", [1, 3, 9, 20])
def test_threshold_and_batches_and_torch_agree(k):
    rng = np.random.default_rng(2)
    S, b = rng.normal(size=(4, 20, 5)), rng.uniform(0.2, 2, (4, 5))
    whole = topk_simplex_conjugate(S, b, k, 0.3)
    assert np.allclose(whole.plan, [topk_simplex_conjugate(x, y, k, 0.3).plan for x, y in zip(S, b)], atol=1e-14)
    on = whole.plan > 0
    assert np.allclose((S / 0.3 - whole.threshold[:, None])[on], whole.plan[on])
    for kind in (lambda *a: topk_simplex_conjugate(a[0], a[1], k, 0.3), lambda *a: topk_conjugate(a[0], k, 0.3)):
        ours, theirs = kind(S, b), kind(torch.tensor(S), torch.tensor(b))
        for x, y in zip(ours, theirs):
            assert np.allclose(x, y.numpy(), atol=1e-13)


def test_ties_go_to_the_lower_index():
    for k in (2, 9):
        plan = topk_simplex_conjugate(np.zeros((12, 1)), np.ones(1), k, 1.0).plan[:, 0]
        assert np.flatnonzero(plan).tolist() == list(range(k)) and np.allclose(plan[:k], 1 / k)


def test_a_negative_column_keeps_its_largest_entries():
    plan = topk_simplex_conjugate(np.array([[-5.0], [-1.0], [-3.0]]), np.ones(1), 2, 10.0).plan[:, 0]
    assert plan[0] == 0 and plan[1] > plan[2] > 0
    assert not topk_conjugate(np.array([[-5.0], [-1.0]]), 1).plan.any()


@given(st.integers(0, 10_000), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_bounds_of_the_ksupport_norm_and_biconjugate(seed, k):
    rng = np.random.default_rng(seed)
    t = rng.dirichlet(np.ones(6)) * 1.7
    assert 1.7**2 / k - 1e-12 <= ksupport_sq(t, k) <= 1.7**2 + 1e-12
    # Fenchel: <s, t> - Omega_b*(s) never exceeds Psi_k(t) / 2
    S = rng.normal(size=(6, 50)) * 3
    assert (t @ S - topk_simplex_conjugate(S, np.full(50, 1.7), k, 1.0).value).max() <= ksupport_sq(t, k) / 2 + 1e-12


# ---- dual and semi-dual

@pytest.mark.parametrize("k", [1, 2, 4, 9])
def test_semidual_is_the_dual_at_the_best_beta(k):
    a, b, C = SMALL
    rng = np.random.default_rng(4)
    for alpha in rng.normal(size=(5, 9)):
        value, _, T = semidual(alpha, a, b, C, k, 0.4)
        beta = -0.4 * T.threshold
        dual = alpha @ a + beta @ b - topk_conjugate(alpha[:, None] + beta - C, k, 0.4).value.sum()
        assert value == pytest.approx(dual, abs=1e-10)
        nearby = beta + 0.05 * rng.normal(size=(20, 7))
        assert max(alpha @ a + z @ b - topk_conjugate(alpha[:, None] + z - C, k, 0.4).value.sum() for z in nearby) <= value + 1e-12


@given(st.integers(0, 10_000), st.integers(1, 9), st.floats(-50, 50))
@settings(max_examples=30, deadline=None)
def test_column_sums_and_shift_invariance_at_any_alpha(seed, k, shift):
    a, b, C = SMALL
    alpha = np.random.default_rng(seed).normal(size=9)
    value, gradient, T = semidual(alpha, a, b, C, k, 0.5)
    assert np.allclose(T.plan.sum(0), b, atol=1e-12) and abs(gradient.sum()) < 1e-12
    assert semidual(alpha + shift, a, b, C, k, 0.5)[0] == pytest.approx(value, abs=1e-11)


@pytest.mark.parametrize("solve", [solve_semidual, solve_dual])
@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_solvers_reach_the_certified_value(solve, solver):
    a, b, C = SMALL
    for k in (1, 3, 6, 9):
        result, ref = solve(a, b, C, k, 2.0, solver=solver, max_iter=2000), sparse_ot_reference(a, b, C, k, 2.0)
        assert result.value <= ref.upper + 1e-9 and result.value >= ref.lower - (0.1 if k < 4 else 1e-3)
        assert (result.plan != 0).sum(0).max() <= k and len(result.history) == result.n_evaluations
        assert result.value == result.history.max()
        assert result.row_error == pytest.approx(np.abs(a - result.plan.sum(1)).sum())
        assert result.col_error < 1e-13 or solve is solve_dual


def test_converged_means_feasible_and_optimal():
    a, b, C = SMALL
    result = solve_semidual(a, b, C, 9, 5.0, tol=1e-8)
    assert result.converged and result.row_error < 1e-7 and result.n_tied == 0
    assert result.value == pytest.approx((C * result.plan).sum() + 2.5 * (result.plan**2).sum(), abs=1e-7)  # strong duality
    again = solve_semidual(a, b, C, 9, 5.0, tol=1e-8, alpha0=result.alpha)
    assert again.n_evaluations <= 3


def test_permutations_carry_over():
    a, b, C = SMALL
    rng = np.random.default_rng(5)
    rows, cols = rng.permutation(9), rng.permutation(7)
    plain, moved = solve_semidual(a, b, C, 5, 3.0), solve_semidual(a[rows], b[cols], C[np.ix_(rows, cols)], 5, 3.0)
    assert plain.n_tied == 0 and np.allclose(plain.plan[np.ix_(rows, cols)], moved.plan, atol=1e-6)


@given(st.floats(0.1, 20))
@settings(max_examples=10, deadline=None)
def test_scaling_cost_and_gamma(scale):
    a, b, C = SMALL
    one, two = solve_semidual(a, b, C, 9, 2.0), solve_semidual(a, b, scale * C, 9, scale * 2.0)
    assert np.allclose(one.plan, two.plan, atol=1e-6) and two.value == pytest.approx(scale * one.value, rel=1e-8)


# ---- the reference

@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("k", [1, 2, 4, 12])
def test_reference_is_feasible_and_certified(seed, k):
    a, b, C = random_problem(12, 10, seed)
    ref = sparse_ot_reference(a, b, C, k, 0.8)
    assert -1e-12 <= ref.upper - ref.lower <= 1e-7
    assert np.allclose(ref.plan.sum(1), a, atol=1e-9) and np.allclose(ref.plan.sum(0), b, atol=1e-9) and ref.plan.min() > -1e-12
    assert (C * ref.plan).sum() + 0.4 * ksupport_sq(ref.plan.T, k).sum() == pytest.approx(ref.upper, abs=1e-10)
    assert semidual(ref.alpha, a, b, C, k, 0.8)[0] == pytest.approx(ref.lower, abs=1e-12)


@pytest.mark.parametrize("instance", [demo_problem("i", 16), demo_problem("ii", 16), mixture_problem(16, 1), random_problem(8, 5, 1)])
@pytest.mark.parametrize("gamma", [0.1, 2.0])
def test_limits_monotonicity_and_bracket(instance, gamma):
    a, b, C = instance
    exact, square, m = ot_exact(C, a, b).cost, gamma / 2 * (b * b).sum(), len(a)
    found = {k: sparse_ot_reference(a, b, C, k, gamma) for k in (1, 2, 4, m)}
    assert found[1].upper == pytest.approx(exact + square, abs=1e-7)
    for k, ref in found.items():
        assert exact + square / k - 1e-7 <= ref.upper and ref.lower <= exact + square + 1e-7
    bounds = list(found.values())
    assert all(after.lower <= before.upper + 1e-7 for before, after in zip(bounds, bounds[1:]))
    peer = quadratic_ot(a, b, C, gamma)
    assert (C * peer).sum() + gamma / 2 * (peer**2).sum() == pytest.approx(found[m].lower, abs=1e-5)


def test_cap_beyond_the_quadratic_support_changes_nothing():
    a, b, C = demo_problem("i")
    full = solve_semidual(a, b, C, 32, 0.1)
    k_star = int((quadratic_ot(a, b, C, 0.1) > 1e-9).sum(0).max())
    capped = solve_semidual(a, b, C, k_star, 0.1)
    assert k_star < 32 and capped.value == pytest.approx(full.value, abs=1e-7) and np.allclose(capped.plan, full.plan, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_k_one_with_uniform_weights_is_the_assignment(seed):
    n = 8
    C = np.random.default_rng(seed).random((n, n))
    ref = sparse_ot_reference(np.full(n, 1 / n), np.full(n, 1 / n), C, 1, 1.0)
    permutation, _ = assignment(C)
    assert np.allclose(ref.plan[np.arange(n), permutation], 1 / n, atol=1e-9)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_weak_duality_and_strong_without_ties(seed, k):
    a, b, C = random_problem(4, 3, seed)
    gamma = (0.2, 1.0, 5.0)[seed % 3]
    ref, primal = sparse_ot_reference(a, b, C, k, gamma, tol=1e-8), sparse_ot_bruteforce(a, b, C, k, gamma)
    assert primal >= ref.lower - 1e-9
    if ref.n_tied == 0:
        assert primal == pytest.approx(ref.upper, abs=1e-6)


def test_bruteforce_at_full_support_is_quadratic_transport():
    a, b, C = random_problem(4, 3, 7)
    assert sparse_ot_bruteforce(a, b, C, 4, 0.3) == pytest.approx(sparse_ot_reference(a, b, C, 4, 0.3).upper, abs=1e-6)
    with pytest.raises(ValueError, match="^C:"):
        sparse_ot_bruteforce(*random_problem(9, 7, 0), 5)


def test_room_equal_to_demand_makes_gamma_irrelevant():
    C, ones, four = np.random.default_rng(0).random((16, 4)), np.ones(16), np.full(4, 4.0)
    exact = ot_exact(C, ones, four).cost
    for gamma in (0.1, 3.0):
        assert sparse_ot_reference(ones, four, C, 4, gamma, tol=1e-6).upper == pytest.approx(exact + 8 * gamma, abs=1e-3)


# ---- the loss

def test_loss_gradients():
    a, b, C = (torch.tensor(x) for x in SMALL)
    options = dict(tol=1e-12, max_iter=5000)
    k_star = int((quadratic_ot(*SMALL, 5.0) > 1e-9).sum(0).max())
    cost = C.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda c: sparse_ot_loss(a, b, c, k_star, 5.0, **options), cost, eps=1e-5, atol=1e-4)
    a, b = a.requires_grad_(), b.requires_grad_()
    sparse_ot_loss(a, b, C, 9, 5.0, **options).backward()
    step = np.zeros(9)
    step[[1, 4]] = 1e-5, -1e-5  # keeps the total
    moved = [solve_semidual(SMALL.a + s * step, SMALL.b, SMALL.C, 9, 5.0, **options).value for s in (1, -1)]
    assert (moved[0] - moved[1]) / 2e-5 == pytest.approx(float(a.grad[1] - a.grad[4]), abs=1e-6)
    moved = [solve_semidual(SMALL.a, SMALL.b + s * step[:7], SMALL.C, 9, 5.0, **options).value for s in (1, -1)]
    assert (moved[0] - moved[1]) / 2e-5 == pytest.approx(float(b.grad[1] - b.grad[4]), abs=1e-6)


def test_loss_is_batched():
    a, b, C = (torch.tensor(x) for x in SMALL)
    batch = torch.stack([C, 2 * C])[:, None]
    values = sparse_ot_loss(a, b, batch, 4, 0.5)
    assert values.shape == (2, 1) and float(values[0]) == solve_semidual(*SMALL, 4, 0.5).value


# ---- routing

def logits(groups=3, tokens=24, experts=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(groups, tokens, experts, generator=generator, dtype=torch.float64) + torch.randn(experts, generator=generator)


@given(st.integers(0, 1000), st.integers(6, 24))
@settings(max_examples=20, deadline=None)
def test_capacity_is_never_exceeded(seed, capacity):
    L = logits(seed=seed)
    for router in (route_tokens, top1_router, expert_choice_router, sinkhorn_router):
        weights = router(L, capacity)
        assert weights.shape == L.shape and (weights >= 0).all() and router_metrics(weights)["max_load"].max() <= capacity


def test_router_solves_the_transport_problem():
    L = logits(1, 12, 3, 1)
    plan = route_tokens(L, 12, gamma=5.0, n_iter=3000, lr=3e-3)[0].numpy()
    expected = solve_semidual(np.ones(12), np.full(3, 4.0), -L[0].softmax(-1).numpy(), 12, 5.0).plan
    assert np.allclose(plan, expected, atol=1e-3)


def test_router_groups_are_independent_and_columns_balanced():
    L = logits()
    plan = route_tokens(L, 8)
    assert torch.allclose(plan.sum(-2), torch.full((3, 4), 6.0, dtype=torch.float64))
    assert torch.allclose(plan[1], route_tokens(L[1], 8), atol=1e-12)
    by_token = route_tokens(L, 2, cap="token")
    assert (by_token > 0).sum(-1).max() <= 2 and torch.allclose(by_token.sum(-1), torch.ones(3, 24, dtype=torch.float64))


def test_router_without_competition_sends_every_token_to_its_expert():
    L = 5 * torch.eye(4, dtype=torch.float64).repeat_interleave(6, 0)
    for router in (route_tokens, top1_router, expert_choice_router, sinkhorn_router):
        found = router_metrics(router(L, 6))
        assert int(found["dropped"]) == 0 and int(found["max_load"]) == int(found["min_load"]) == 6


def test_metrics_by_hand():
    weights = torch.tensor([[0.5, 0.5], [0.0, 0.0], [1.0, 0.0]])
    found = router_metrics(weights)
    assert [int(found[n]) for n in ("dropped", "max_load", "min_load")] == [1, 2, 1]
    assert float(found["row_error"]) == pytest.approx(1 / 3)


def test_sinkhorn_plan_marginals():
    plan = sinkhorn_plan(logits(), eps=0.7, n_iter=500)
    assert torch.allclose(plan.sum(-1), torch.ones(3, 24, dtype=torch.float64)) and torch.allclose(plan.sum(-2), torch.full((3, 4), 6.0, dtype=torch.float64))


def test_experts_by_a_loop():
    torch.manual_seed(0)
    layer, x = MixtureOfExperts(5, 7, 3, 4, 6).double(), torch.randn(12, 5, dtype=torch.float64)
    out, weights, gates = layer(x, expert_choice_router)
    expected = x.clone()
    for g, t, e in weights.nonzero().tolist():
        token = x[6 * g + t]
        hidden = torch.relu(token @ layer.enter[e] + layer.enter_bias[e, 0])
        expected[6 * g + t] += gates[g, t, e] * (hidden @ layer.leave[e])
    assert torch.allclose(out, expected) and (weights > 0).sum() == 2 * 3 * 4


def test_patches_and_gate_gradients():
    torch.manual_seed(0)
    model = PatchClassifier(2, 8, 6, 5, 4, 1.5, 2)
    scores, weights, _ = model(torch.rand(4, 8, 8), route_tokens)
    assert scores.shape == (4, 10) and weights.shape == (2, 32, 4) and model.experts.capacity == 12
    scores.sum().backward()
    assert model.experts.gate.weight.grad.abs().sum() > 0


# ---- bad input

@pytest.mark.parametrize("solve", [solve_semidual, solve_dual, sparse_ot_reference])
@pytest.mark.parametrize("change, name", [
    ({"k": 0}, "k"), ({"k": 10}, "k"), ({"k": 2.0}, "k"), ({"k": True}, "k"), ({"gamma": 0.0}, "gamma"), ({"gamma": -1.0}, "gamma"),
    ({"gamma": np.inf}, "gamma"), ({"a": np.full(9, np.nan)}, "a"), ({"a": -SMALL.a}, "a"), ({"b": np.full(7, 1.0)}, "a, b"),
    ({"a": np.ones(8) / 8}, "a"), ({"b": np.ones((7, 1)) / 7}, "b"), ({"C": np.ones((7, 9))}, "a"), ({"C": np.ones(9)}, "C"),
    ({"C": np.full((9, 7), np.inf)}, "C"), ({"a": np.r_[0.0, np.full(8, 1 / 8)]}, "a"),
])
def test_bad_problems_name_the_argument(solve, change, name):
    arguments = {"a": SMALL.a, "b": SMALL.b, "C": SMALL.C, "k": 3, "gamma": 1.0, **change}
    with pytest.raises(ValueError, match=f"^{name}:"):
        solve(*arguments.values())


@pytest.mark.parametrize("options, name", [
    ({"solver": "newton"}, "solver"), ({"max_iter": 0}, "max_iter"), ({"max_iter": 1.5}, "max_iter"), ({"tol": 0.0}, "tol"),
    ({"lr": -1.0}, "lr"), ({"alpha0": np.zeros(4)}, "alpha0"), ({"alpha0": np.full(9, np.nan)}, "alpha0"),
])
def test_bad_options_name_the_argument(options, name):
    with pytest.raises(ValueError, match=f"^{name}:"):
        solve_semidual(*SMALL, 3, 1.0, **options)


def test_zero_weights_can_be_allowed():
    a, b, C = SMALL
    a, b = a.copy(), b.copy()
    a[2], b[5] = 0.0, 0.0
    a, b = a / a.sum(), b / b.sum()
    for solve in (solve_semidual, solve_dual):
        result = solve(a, b, C, 9, 2.0, allow_zero=True, alpha0=np.zeros(9))
        part = solve(np.delete(a, 2), np.delete(b, 5), np.delete(np.delete(C, 2, 0), 5, 1), 8, 2.0)
        assert not result.plan[2].any() and not result.plan[:, 5].any() and result.value == part.value
        assert np.isneginf(result.alpha[2]) and np.isneginf(result.beta[5])


@pytest.mark.parametrize("S, b, k, name", [
    (np.ones(3), np.ones(3), 1, "S"), (np.full((3, 2), np.nan), np.ones(2), 1, "S"), (np.ones((3, 2)), np.ones(3), 1, "b"),
    (np.ones((3, 2)), np.zeros(2), 1, "b"), (np.ones((3, 2)), np.ones(2), 4, "k"),
])
def test_bad_scores(S, b, k, name):
    with pytest.raises(ValueError, match=f"^{name}:"):
        topk_simplex_conjugate(S, b, k)


def test_bad_routing():
    L = logits()
    with pytest.raises(ValueError, match="^capacity: .* leave 4 of 24 tokens"):
        route_tokens(L, 5)
    assert router_metrics(route_tokens(L, 5, allow_drop=True))["dropped"].min() >= 4
    for arguments, name in (((L, 0), "capacity"), ((L, 25), "capacity"), ((L, 2.5), "capacity"), ((L.numpy(), 6), "logits"),
                            ((L * np.inf, 6), "logits"), ((L[0, 0], 6), "logits")):
        for router in (route_tokens, top1_router, sinkhorn_router, expert_choice_router):
            with pytest.raises(ValueError, match=f"^{name}:"):
                router(*arguments)
    with pytest.raises(ValueError, match="^cap:"):
        route_tokens(L, 6, cap="row")
    with pytest.raises(ValueError, match="^gamma:"):
        route_tokens(L, 6, gamma=0.0)
    with pytest.raises(ValueError, match="^name:"):
        demo_problem("iii")


def test_reference_gives_up_with_a_clear_error():
    with pytest.raises(RuntimeError, match="max_lp"):
        sparse_ot_reference(*demo_problem("i", 16), 2, 1.0, max_lp=2)
