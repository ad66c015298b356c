"""Mathematics of prox_repro.transfer.fedspeed: fixed points, limits, invariances, partitions, stacked gradients, and bad input."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_repro.core.nets import MLP, ConvClassifier, seeded
from prox_repro.transfer.fedspeed import (
    FedAdam, FedCM, FedProblem, FedSpeed, QuadraticClients, Rule, Scaffold, StackedModel, client_batches, contraction,
    fedadam, fedavg, fedcm,
    feddyn, federate, fedprox, fedsam, fedspeed, fixed_point, local_update, partition_dirichlet, partition_pathological,
    quadratic_clients,
    sample_clients, scaffold, sharpness, top_eigenvalue,
)

seeds = st.integers(0, 100_000)
PLAIN = dict(lr_decay=1.0, weight_decay=0.0, clip=None, normalize=False)
SHORT = dict(local_steps=6, lr=0.2, **PLAIN)


def quadratics(seed=0, m=4, d=3):
    A, b, x_star = quadratic_clients(m, d, seed)
    return QuadraticClients(A, b), A, b, x_star


def network(m=5, n=12, seed=0, **kwargs):
    rng = np.random.default_rng(seed)
    X, y = torch.from_numpy(rng.standard_normal((m, n, 4))), torch.from_numpy(rng.integers(0, 3, (m, n)))
    return FedProblem(X, y, seeded(seed, MLP, 4, [5], 3, activation=torch.tanh).double(), **kwargs)


METHODS = {"fedavg": fedavg, "fedprox": fedprox, "fedsam": fedsam, "feddyn": feddyn, "scaffold": scaffold,
           "fedcm": fedcm,
           "fedadam": fedadam, "fedspeed": fedspeed}


# fixed points

@settings(deadline=None, max_examples=10)
@given(seeds, st.integers(1, 12), st.floats(0.5, 5.0), st.floats(0.0, 0.3), st.floats(0.0, 1.0))
def test_uncorrected_methods_stop_at_the_formula(seed, K, lam, rho, alpha):
    problem, A, b, _ = quadratics(seed)
    where = dict(local_steps=K, lr=0.2, lam=lam, rho=rho, alpha=alpha)
    start = torch.from_numpy(fixed_point(A, b, **where))
    moved = federate(problem, Rule(lam, rho, alpha), 1, local_steps=K, lr=0.2, start=start, **PLAIN).params
    torch.testing.assert_close(moved, start, atol=1e-12, rtol=0)


@settings(deadline=None, max_examples=10)
@given(seeds, st.integers(1, 8), st.floats(0.5, 5.0), st.floats(0.0, 0.3), st.floats(0.0, 1.0), st.floats(0.2, 1.0))
def test_fedspeed_rests_at_its_fixed_point_whoever_is_active(seed, K, lam, rho, alpha, participation):
    problem, A, b, _ = quadratics(seed)
    x = torch.from_numpy(fixed_point(A, b, rho=rho, alpha=alpha, corrected=True))
    g = problem.gradients(x.expand(4, -1), torch.arange(4))
    quasi = (1 - alpha) * g + alpha * problem.gradients(x + rho * g, torch.arange(4))

    class Rested(FedSpeed):
        def begin(self, problem, x):
            self._h, self._mean = -self.lam * quasi, -self.lam * quasi.mean(0)

    result = federate(problem, Rested(lam, rho, alpha), 4, local_steps=K, lr=0.2, start=x, participation=participation,
                      **PLAIN)
    torch.testing.assert_close(result.params, x, atol=1e-11, rtol=0)
    torch.testing.assert_close(result.duals, quasi, atol=1e-11, rtol=0)


def test_fedspeed_without_ascent_is_exact_for_any_number_of_steps():
    problem, A, b, x_star = quadratics(1)
    for K in (1, 4, 40):
        result = fedspeed(problem, 600, lam=1.0, rho=0.0, local_steps=K, lr=0.2, **PLAIN)
        np.testing.assert_allclose(result.params, x_star, atol=1e-10)
        np.testing.assert_allclose(result.duals, np.einsum("mij,mj->mi", A, x_star - b), atol=1e-9)
    np.testing.assert_allclose(scaffold(problem, 600, **SHORT).params, x_star, atol=1e-10)
    assert fedprox(problem, 600, lam=1.0, **SHORT).history.error.iloc[-1] > 1e-2


def test_partial_participation_converges_only_with_all_duals():
    problem, *_ = quadratics(2, m=6)
    options = dict(lam=1.0, rho=0.0, participation=0.5, seed=3, **SHORT)
    assert fedspeed(problem, 500, **options).history.error.iloc[-1] < 1e-9
    assert fedspeed(problem, 500, server_dual="active", **options).history.error.iloc[250:].min() > 1e-3
    assert fedspeed(problem, 500, **options, scheme="bernoulli").history.error.iloc[-1] < 1e-9


def test_fedprox_with_exact_clients_minimises_the_mean_moreau_envelope():
    _, A, b, _ = quadratics(3)
    lam, x = 0.7, fixed_point(A, b, local_steps=10_000, lr=0.2, lam=0.7)
    z = np.linalg.solve(A + np.eye(3) / lam, ((A @ b[..., None])[..., 0] + x / lam)[..., None])[..., 0]  # prox of each F_i at x
    np.testing.assert_allclose((x - z).mean(0) / lam, 0, atol=1e-12)


def test_one_plain_step_has_no_bias():
    _, A, b, x_star = quadratics(4)
    np.testing.assert_allclose(fixed_point(A, b, local_steps=1, lr=0.1), x_star, atol=1e-12)
    np.testing.assert_allclose(fixed_point(A, b, local_steps=1, lr=0.1, lam=2.0), x_star, atol=1e-12)  # the first step has no pull


def test_offset_of_the_ascent_step_is_of_first_order():
    _, A, b, x_star = quadratics(5)
    offset = [np.linalg.norm(fixed_point(A, b, rho=rho, corrected=True) - x_star) for rho in (1e-3, 2e-3)]
    np.testing.assert_allclose(offset[1] / offset[0], 2, rtol=1e-2)
    x = fixed_point(A, b, rho=0.2, alpha=0.5, corrected=True)
    np.testing.assert_allclose(np.einsum("mij,mj->i", (np.eye(3) + 0.1 * A) @ A, x - b), 0, atol=1e-12)


@settings(deadline=None, max_examples=8)
@given(seeds, st.integers(1, 6), st.floats(0.5, 3.0), st.floats(0.0, 0.3))
def test_contraction_is_the_spectral_radius_of_a_round(seed, K, lam, rho):
    A, b, _ = quadratic_clients(3, 2, seed)
    columns = []
    for state in torch.eye(8, dtype=torch.float64):  # with b = 0 a round is linear in the server model and the three duals

        class Started(FedSpeed):
            def begin(self, problem, x):
                self._h = state[2:].view(3, 2).clone()
                self._mean = self._h.mean(0)

        rule = Started(lam, rho)
        x = federate(QuadraticClients(A, 0 * b), rule, 1, local_steps=K, lr=0.2, start=state[:2], **PLAIN).params
        columns.append(torch.cat([x, rule._h.flatten()]))
    radius = torch.linalg.eigvals(torch.stack(columns, 1)).abs().max().item()
    np.testing.assert_allclose(contraction(A, local_steps=K, lr=0.2, lam=lam, rho=rho), radius, rtol=1e-6)
    assert radius < 1


# duals and limits

@settings(deadline=None, max_examples=10)
@given(seeds, st.floats(0.2, 1.0), st.sampled_from(["fixed", "bernoulli"]))
def test_duals_are_the_sum_of_the_pulls(seed, participation, scheme):
    problem, *_ = quadratics(seed)
    moves = torch.zeros(4, 3, dtype=torch.float64)

    class Watched(FedSpeed):
        def server(self, x, ends, clients, reach):
            moves[clients] += ends - x
            return super().server(x, ends, clients, reach)

    result = federate(problem, Watched(1.5, 0.1), 7, participation=participation, scheme=scheme, seed=seed, **SHORT)
    torch.testing.assert_close(result.duals, -moves / 1.5)


def test_huge_lam_makes_fedprox_fedavg_but_not_fedspeed():
    problem, *_ = quadratics(6)
    plain = fedavg(problem, 5, **SHORT)
    assert torch.equal(fedprox(problem, 5, lam=np.inf, **SHORT).params, plain.params)
    torch.testing.assert_close(fedprox(problem, 5, lam=1e12, **SHORT).params, plain.params)
    x, total = problem.initial(), torch.zeros(3, dtype=torch.float64)  # undamped momentum: what remains of the method
    for _ in range(5):
        u = fedavg(problem, 1, start=x, **SHORT).params - x
        total = total + u
        x = x + u + total
    torch.testing.assert_close(fedspeed(problem, 5, lam=1e9, rho=0.0, **SHORT).params, x, atol=1e-6, rtol=1e-6)
    assert (x - plain.params).norm() > 1e-2


def test_reductions_are_bit_for_bit():
    problem = network()
    options = dict(local_steps=4, batch_size=5, participation=0.6, seed=2)
    same = lambda a, b: torch.equal(a.params, b.params)
    assert same(fedspeed(problem, 3, rho=0.0, **options), fedspeed(problem, 3, alpha=0.0, **options))
    assert same(fedspeed(problem, 3, rho=0.0, lam=3.0, **options), feddyn(problem, 3, lam=3.0, **options))
    assert same(fedsam(problem, 3, rho=0.0, **options), fedavg(problem, 3, **options))
    assert same(fedcm(problem, 3, alpha=1.0, **options), fedavg(problem, 3, **options))
    assert same(fedspeed(problem, 3, **options), fedspeed(problem, 3, **options))
    assert not same(fedspeed(problem, 3, **options), fedspeed(problem, 3, **options | {"seed": 3}))


def test_full_participation_makes_the_server_rules_equal():
    a, b = (fedspeed(network(), 4, local_steps=3, batch_size=4, server_dual=name) for name in ("all", "active"))
    torch.testing.assert_close(a.params, b.params, atol=1e-13, rtol=1e-12)


def test_identical_clients_follow_gradient_descent():
    A, b, _ = quadratic_clients(1, 3, 7)
    problem = QuadraticClients(np.repeat(A, 4, 0), np.repeat(b, 4, 0))
    x = torch.zeros(3, dtype=torch.float64)
    for _ in range(5 * 6):
        x = x - 0.2 * torch.from_numpy(A[0]) @ (x - torch.from_numpy(b[0]))
    for participation in (1.0, 0.5):
        torch.testing.assert_close(fedavg(problem, 5, participation=participation, **SHORT).params, x)
    one, four = (fedspeed(p, 5, rho=0.1, **SHORT).params for p in (QuadraticClients(A, b), problem))
    torch.testing.assert_close(one, four)


def test_permuting_clients_permutes_the_duals():
    X, problem = np.random.default_rng(8).permutation(5), network()
    moved = FedProblem(problem.X[X], problem.y[X], problem.stacked.model)
    a, b = (fedspeed(p, 5, local_steps=3) for p in (problem, moved))
    torch.testing.assert_close(a.params, b.params, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(a.duals[X], b.duals, atol=1e-12, rtol=1e-12)


def test_scaffold_keeps_the_mean_of_its_controls():
    problem, rule = network(), Scaffold()
    federate(problem, rule, 6, local_steps=3, batch_size=4, participation=0.4)
    torch.testing.assert_close(rule._own.mean(0), rule._mean)


def test_fedcm_and_fedadam_from_their_recursions():
    problem, A, b, _ = quadratics(9)
    grad = lambda x: problem.gradients(x, torch.arange(4))
    x, step = problem.initial(), 0.0
    y, m, v = problem.initial(), 0.0, 0.0
    for _ in range(3):
        z = x.expand(4, -1)
        for _ in range(6):
            z = z - 0.2 * (0.3 * grad(z) + 0.7 * step)
        step, x = (x - z.mean(0)) / (6 * 0.2), z.mean(0)
        w = y.expand(4, -1)
        for _ in range(6):
            w = w - 0.2 * grad(w)
        move = w.mean(0) - y
        m, v = 0.9 * m + 0.1 * move, 0.99 * v + 0.01 * move**2
        y = y + 0.05 * m / (v.sqrt() + 1e-3)
    torch.testing.assert_close(fedcm(problem, 3, alpha=0.3, **SHORT).params, x)
    torch.testing.assert_close(fedadam(problem, 3, server_lr=0.05, **SHORT).params, y)


# the local step

def test_stacked_update_is_a_loop_over_clients():
    problem = network()
    rng = np.random.default_rng(10)
    clients, center = torch.tensor([0, 2, 3]), problem.initial()
    dual = torch.from_numpy(0.1 * rng.standard_normal((3, len(center))))
    batches = torch.from_numpy(client_batches(3, 12, 5, 4, rng))
    options = dict(lr=0.3, lam=2.0, rho=0.1, alpha=0.7, weight_decay=0.01, clip=0.5)
    together = local_update(problem, clients, center, dual, batches, **options)
    for i in range(3):
        x = center.clone()
        for batch in batches[:, i]:
            data = problem.X[clients[i], batch], problem.y[clients[i], batch]
            def gradient(w):
                w = w.detach().requires_grad_()
                names = problem.stacked.unflatten(w)
                return torch.autograd.grad(torch.nn.functional.cross_entropy(
                    torch.func.functional_call(problem.stacked.model, names, data[0]), data[1]), w)[0]
            g = gradient(x)
            g = 0.3 * g + 0.7 * gradient(x + 0.1 * g / (g.norm() + 1e-7))
            v = g - dual[i] + (x - center) / 2.0
            x = x - 0.3 * (v * min(1.0, 0.5 / (v.norm().item() + 1e-6)) + 0.01 * x)
        torch.testing.assert_close(together[i], x, atol=1e-12, rtol=1e-10)


def test_stacked_gradients_by_finite_differences_and_for_convolutions():
    problem = network(m=2, n=3)
    x = problem.initial().repeat(2, 1) + 0.1 * torch.randn(2, len(problem.initial()), dtype=torch.float64)
    g, eye = problem.gradients(x, torch.arange(2)), 1e-6 * torch.eye(x.shape[1], dtype=torch.float64)
    value = lambda w: problem.stacked.mean_loss(w, problem.X, problem.y)
    numeric = torch.stack([(value(x + e) - value(x - e)) / 2e-6 for e in eye], 1)
    torch.testing.assert_close(g, numeric, atol=1e-8, rtol=1e-6)
    model = StackedModel(seeded(0, ConvClassifier, 1, 3, [2, 3]).double())
    images, labels = torch.rand(3, 4, 1, 6, 6, dtype=torch.float64), torch.randint(3, (3, 4))
    w = model.flatten().double().repeat(3, 1) + 0.1 * torch.randn(3, len(model.flatten()), dtype=torch.float64)
    alone = torch.cat([model.gradients(w[i:i + 1], images[i:i + 1], labels[i:i + 1]) for i in range(3)])
    torch.testing.assert_close(model.gradients(w, images, labels), alone)


def test_flat_parameters_are_the_networks_own():
    problem = network()
    direct = problem.stacked.model(problem.X[0])
    torch.testing.assert_close(problem.stacked.outputs(problem.initial()[None], problem.X[:1])[0], direct)
    expected = torch.nn.functional.cross_entropy(problem.stacked.model(problem.X.flatten(0, 1)),
                                                 problem.y.flatten()).item()
    np.testing.assert_allclose(problem.evaluate(problem.initial())["loss"], expected)


def test_clipping_bounds_every_step():
    problem = network()
    clients = torch.arange(5)
    moved = local_update(problem, clients, problem.initial(), 100.0 * torch.ones(5, 1, dtype=torch.float64), [None],
                         lr=0.5, clip=2.0)
    np.testing.assert_allclose((moved - problem.initial()).norm(dim=1), 1.0, rtol=1e-5)


def test_work_and_communication_are_counted():
    options = dict(local_steps=4, batch_size=6, participation=0.4)
    counts = {name: run(network(), 3, **options).history[["grad_evals", "vectors"]].iloc[-1].tolist() for name,
              run in METHODS.items()}
    assert counts == {"fedavg": [24, 12], "fedprox": [24, 12], "fedsam": [48, 12], "feddyn": [24, 12],
                      "scaffold": [24, 24],
                      "fedcm": [24, 18], "fedadam": [24, 12], "fedspeed": [48, 12]}
    epochs = fedavg(network(), 2, local_epochs=3, batch_size=6)
    assert torch.equal(epochs.params, fedavg(network(), 2, local_steps=6, batch_size=6).params)
    sparse = fedavg(network(), 5, local_steps=1, eval_every=2).history
    assert sparse["round"].tolist() == [2, 4, 5]


# flatness

def test_sharpness_against_random_points_of_the_ball():
    problem = network()
    x = problem.initial()
    found = sharpness(problem, x, 0.3, 20)
    value = lambda w: problem.stacked.mean_loss(w, problem.X.flatten(0, 1)[None].expand(len(w), -1, -1),
                                                problem.y.flatten()[None].expand(len(w), -1))
    e = torch.randn(200, len(x), dtype=torch.float64)
    assert found > (value(x + 0.3 * e / e.norm(dim=1, keepdim=True)) - value(x[None])).max() > 0
    g = problem.gradients(x.expand(5, -1), torch.arange(5)).mean(0)
    np.testing.assert_allclose(sharpness(problem, x, 0.3, 1),
                               (value((x + 0.3 * g / g.norm())[None]) - value(x[None])).item(), rtol=1e-9)


def test_top_eigenvalue_of_the_dense_hessian():
    problem = network()
    x, y = problem.X.flatten(0, 1)[None], problem.y.flatten()[None]
    H = torch.autograd.functional.hessian(lambda w: problem.stacked.mean_loss(w[None], x, y)[0], problem.initial())
    np.testing.assert_allclose(top_eigenvalue(problem, problem.initial(), tol=1e-10), torch.linalg.eigvalsh(H)[-1],
                               rtol=1e-8)


# shared pieces

@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 12), st.floats(0.01, 50.0), st.integers(1, 20))
def test_dirichlet_parts_are_disjoint_and_full(seed, m, concentration, n):
    labels = np.random.default_rng(seed).integers(0, 5, 240)
    parts = partition_dirichlet(labels, m, concentration, n, seed)
    assert parts.shape == (m, n) and len(np.unique(parts)) == m * n and parts.min() >= 0 and parts.max() < 240
    assert np.array_equal(parts, partition_dirichlet(labels, m, concentration, n, seed))


def test_dirichlet_uses_everything_when_asked_and_shares_have_the_right_moments():
    labels = np.repeat(np.arange(4), (5, 50, 25, 20))
    assert np.array_equal(np.sort(partition_dirichlet(labels, 10, 0.1, 10, 0).ravel()), np.arange(100))
    labels = np.tile(np.arange(4), 100_000)
    counts = np.stack([np.bincount(labels[i], minlength=4) for i in partition_dirichlet(labels, 2000, 0.5, 50, 1)])
    shares = counts / 50
    a, C, n = 0.5, 4, 50  # Dirichlet-multinomial: mean 1/C, variance (1/C)(1 - 1/C)/n * (n + C a)/(1 + C a)
    np.testing.assert_allclose(shares.mean(0), 1 / C, atol=0.03)
    np.testing.assert_allclose(shares.var(0), (1 / C) * (1 - 1 / C) / n * (n + C * a) / (1 + C * a), rtol=0.1)


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 12), st.integers(1, 5))
def test_pathological_parts_have_exactly_so_many_classes(seed, m, k):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(5), (40, 50, 60, 45, 70)))
    parts = partition_pathological(labels, m, k, seed)
    assert len(np.unique(parts)) == parts.size
    for part in parts:
        counts = np.bincount(labels[part], minlength=5)
        assert (counts > 0).sum() == k and len(np.unique(counts[counts > 0])) == 1


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 40), st.floats(0.01, 1.0), st.sampled_from(["fixed", "bernoulli"]))
def test_active_clients(seed, m, participation, scheme):
    active = sample_clients(m, participation, np.random.default_rng(seed), scheme)
    assert 1 <= len(active) <= m and (np.diff(active) > 0).all() and active[-1] < m
    if scheme == "fixed":
        assert len(active) == max(1, round(participation * m))


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 5), st.integers(1, 20), st.integers(1, 9), st.data())
def test_batches_are_passes(seed, m, n, steps, data):
    size = data.draw(st.integers(1, n))
    batches = client_batches(m, n, size, steps, np.random.default_rng(seed))
    assert batches.shape == (steps, m, size)
    whole = n // size
    for i in range(m):
        first = batches[:whole, i].ravel()
        assert len(np.unique(first)) == len(first)
    if steps >= whole and n % size == 0:
        assert np.array_equal(np.sort(batches[:whole, 0].ravel()), np.arange(n))


# bad input

LABELS = np.arange(20) % 4
QUAD = quadratics()[0]
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("call, words", [
    (lambda: Rule(lam=0.0), "lam"), (lambda: Rule(lam=-1.0), "lam"), (lambda: Rule(rho=-0.1), "rho"),
    (lambda: Rule(alpha=1.1), "alpha"),
    (lambda: Rule(lam=np.nan), "lam"), (lambda: FedSpeed(np.inf), "lam: needs a finite"),
    (lambda: FedSpeed(server_dual="half"), "server_dual"),
    (lambda: FedCM(0.0), "alpha"), (lambda: FedAdam(-1.0), "server_lr"),
    (lambda: fedavg(QUAD, 1, local_steps=1, participation=0.0), "participation"),
    (lambda: fedavg(QUAD, 1, local_steps=1, participation=1.5), "participation"),
    (lambda: fedavg(QUAD, 1, local_steps=0), "local_steps"), (lambda: fedavg(QUAD, 1), "exactly one"),
    (lambda: fedavg(QUAD, 0, local_steps=1), "rounds"), (lambda: fedavg(QUAD, 1.5, local_steps=1), "rounds"),
    (lambda: fedavg(QUAD, 1, local_steps=2.5), "local_steps.*2.5"), (lambda: fedavg(QUAD, 1, local_epochs=0), "local_epochs.*0"),
    (lambda: fedavg(QUAD, 1, local_steps=1, clip=-1.0), "clip"), (lambda: fedavg(QUAD, 1, local_steps=1, lr_decay=-1.0), "lr_decay"),
    (lambda: fedavg(QUAD, 1, local_steps=1, eval_every=0), "eval_every"),
    (lambda: fedavg(QUAD, 1, local_steps=1, start=torch.zeros(1)), "start"),
    (lambda: local_update(QUAD, torch.arange(2), QUAD.initial(), 0.0, [None], lr=0.1, lam=0.0), "lam"),
    (lambda: FedProblem(torch.zeros(2, 4, 3), torch.full((2, 4), 6), MLP(3, [], 2)), "y: labels"),
    (lambda: FedProblem(torch.zeros(2, 4, 3), torch.zeros(2, 4), MLP(3, [], 2)), "y: labels"),
    (lambda: FedProblem(torch.zeros(2, 4, 3), torch.zeros(2, 4, dtype=torch.long), MLP(3, [], 2),
                        test=(torch.zeros(5, 3), torch.zeros(4, dtype=torch.long))), "test"),
    (lambda: fedavg(QUAD, 1, local_steps=1, local_epochs=1), "exactly one"),
    (lambda: fedavg(QUAD, 1, local_steps=1, lr=0.0), "lr"),
    (lambda: fedavg(QUAD, 1, local_steps=1, scheme="coin"), "scheme"),
    (lambda: fedavg(network(), 1, local_steps=1, batch_size=13), "batch_size"),
    (lambda: client_batches(2, 5, 6, 1, RNG), "batch_size"),
    (lambda: FedProblem(torch.zeros(2, 0, 3), torch.zeros(2, 0, dtype=torch.long), MLP(3, [], 2)), "empty"),
    (lambda: FedProblem(torch.zeros(2, 4, 3), torch.zeros(2, 5, dtype=torch.long), MLP(3, [], 2)), "X, y"),
    (lambda: FedProblem(torch.zeros(2, 4, 3), torch.zeros(2, 4, dtype=torch.long), MLP(5, [], 2)), "do not fit"),
    (lambda: FedProblem(torch.full((2, 4, 3), torch.nan), torch.zeros(2, 4, dtype=torch.long), MLP(3, [], 2)),
     "finite"),
    (lambda: QuadraticClients(np.eye(3)[None], np.zeros((2, 3))), "A, b"), (lambda: quadratic_clients(0, 3, 0), "m, d"),
    (lambda: partition_dirichlet(LABELS, 0, 1.0, 1, 0), "n_clients"),
    (lambda: partition_dirichlet(LABELS, 2, 0.0, 1, 0), "concentration"),
    (lambda: partition_dirichlet(LABELS, 4, 1.0, 6, 0), "samples_per_client"),
    (lambda: partition_dirichlet(LABELS, 4, 1.0, 0, 0), "samples_per_client"),
    (lambda: partition_dirichlet(LABELS * 0.5, 4, 1.0, 2, 0), "labels"),
    (lambda: partition_pathological(LABELS, 4, 5, 0), "classes_per_client"),
    (lambda: partition_pathological(LABELS, 50, 2, 0), "empty"),
    (lambda: sharpness(network(), network().initial(), 0.0), "radius"),
])
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_divergence_names_round_and_client():
    with pytest.raises(FloatingPointError, match=r"round \d+: the model of client \d"):
        fedavg(QUAD, 50, local_steps=20, lr=1e10, **{k: v for k, v in PLAIN.items()})
