"""The learned prior of 100 digits: one batched L-BFGS against one image at a time, at equal residual."""

import numpy as np
import pytest
import scipy.optimize
import torch
from one_thread import one_thread  # noqa: F401
from prox_repro.core.data import digits
from prox_repro.core.nets import ICNN, ConvexPotential, seeded
from prox_repro.inverse.lpn import LearnedProximalNetwork, Stage, train_lpn

TOL = 1e-6
GROUP = "lpn: prior of 100 digits"


@pytest.fixture(scope="module")
def problem():
    "A trained network, 100 digits of which half carry noise, and their priors by the batched solver."
    data = digits()
    train = torch.tensor(data.x_train, dtype=torch.float32)
    lpn = LearnedProximalNetwork(seeded(0, ICNN, (8, 8), (256, 256), log_init=-6.0))
    sample = lambda generator: train[torch.randint(len(train), (128,), generator=generator)]
    train_lpn(lpn, sample, 0.15, [Stage("l1", 600, 1e-2, 1e-3)], seed=0)
    lpn.double()
    x = torch.tensor(data.x_test[:100])
    x[50:] += 0.1 * torch.randn(50, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return lpn, x, lpn.prior(x, tol=TOL).value


def batched(lpn, x):
    "All images in one L-BFGS on the sum of their problems."
    return lpn.prior(x, tol=TOL).value


def one_at_a_time(lpn, x):
    "The same solver, called once per image."
    return torch.cat([lpn.prior(image[None], tol=TOL).value for image in x])


def conjugate_gradients(lpn, x):
    "The usual way: SciPy's nonlinear CG per image, started at the image, gradients by automatic differentiation."
    values = []
    for image in x:
        def objective(v):
            y = torch.tensor(v).reshape(1, 8, 8)
            with torch.no_grad():
                value = lpn.potential(y) - lpn.inner(image, y)
                gradient = ConvexPotential.gradient(lpn.convex_potential, y) - image
            return float(value), gradient.numpy().ravel()

        found = scipy.optimize.minimize(objective, image.numpy().ravel(), jac=True, method="CG",
                                        options={"gtol": TOL, "maxiter": 5000})
        values.append(-found.fun - 0.5 * float(image.square().sum()))
    return torch.tensor(values)


@pytest.mark.parametrize("method, solve, rounds", [
    ("batched L-BFGS", batched, 5),
    ("L-BFGS, one image at a time", one_at_a_time, 2),
    ("SciPy CG, one image at a time", conjugate_gradients, 2),
])
def test_prior_of_100_digits(benchmark, problem, method, solve, rounds):
    lpn, x, expected = problem
    benchmark.group = GROUP
    benchmark.extra_info["method"] = method
    if solve is batched:
        benchmark.extra_info["ours"] = True
    else:
        benchmark.extra_info["target"] = 0.1
    warmup = 1 if solve is batched else 0
    values = benchmark.pedantic(solve, args=(lpn, x), rounds=rounds, iterations=1, warmup_rounds=warmup)
    assert np.allclose(values, expected, atol=1e-8)
