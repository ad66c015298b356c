"""core.optim: Adam against PyTorch's, stacks against single problems, schedules against their limits."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_repro.core.optim import Adam, constant_schedule, cosine_schedule, polynomial_schedule, step_schedule


@pytest.mark.parametrize("beta1, beta2", [(0.9, 0.999), (0.99, 0.999), (0.0, 0.5)])
def test_adam_is_pytorchs(beta1, beta2):
    rng = np.random.default_rng(0)
    curvature, x = rng.uniform(0.1, 100, 6), rng.normal(size=6)
    theirs = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([theirs], lr=0.01, betas=(beta1, beta2), eps=1e-8)
    adam = Adam(x, beta1=beta1, beta2=beta2)
    for _ in range(200):
        adam.step(x, curvature * x, 0.01)
        optimizer.zero_grad()
        (torch.from_numpy(curvature) * theirs**2 / 2).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(x, theirs.detach().numpy(), rtol=1e-9, atol=1e-12)


def test_a_stack_is_its_problems_one_by_one():
    rng = np.random.default_rng(1)
    x, grads, step_sizes = rng.normal(size=(3, 4, 4)), rng.normal(size=(50, 3, 4, 4)), np.array([0.1, 0.01, 1.0])
    stacked, adam = x.copy(), Adam(x)
    for grad in grads:
        adam.step(stacked, grad.copy(), step_sizes[:, None, None])
    for b in range(3):
        single, alone = x[b].copy(), Adam(x[b])
        for grad in grads:
            alone.step(single, grad[b].copy(), step_sizes[b])
        assert np.array_equal(single, stacked[b])


def test_dropping_problems_leaves_the_others_alone():
    rng = np.random.default_rng(2)
    grads = rng.normal(size=(20, 3, 5))
    full, part = np.zeros((3, 5)), np.zeros((3, 5))
    adam_full, adam_part = Adam(full), Adam(part)
    for t, grad in enumerate(grads):
        if t == 10:
            adam_part.keep(np.array([True, False, True]))
            part = part[[0, 2]]
        adam_full.step(full, grad.copy(), 0.1)
        adam_part.step(part, grad.copy() if t < 10 else grad[[0, 2]].copy(), 0.1)
    assert np.array_equal(full[[0, 2]], part)


def test_reset_forgets_everything():
    rng = np.random.default_rng(3)
    grads = rng.normal(size=(5, 4))
    adam = Adam(np.zeros(4))
    first = [adam.direction(g.copy()).copy() for g in grads]
    adam.reset()
    assert adam.t == 0 and not adam.m.any() and not adam.v.any()
    assert all(np.array_equal(a, adam.direction(g.copy())) for a, g in zip(first, grads))


@settings(deadline=None)
@given(st.floats(1e-3, 1e3), st.sampled_from([-1.0, 1.0]), st.floats(1e-4, 1.0))
def test_the_first_step_has_the_length_of_the_step_size(magnitude, sign, step_size):
    x = np.array([1.0])
    direction = Adam(x).step(x, np.array([sign * magnitude]), step_size)
    np.testing.assert_allclose(1.0 - x, sign * step_size, rtol=1e-4)
    np.testing.assert_allclose(x + step_size * direction, 1.0, rtol=1e-12)  # and can be taken back


def test_directions_do_not_depend_on_the_scale_of_the_gradient():
    rng = np.random.default_rng(4)
    grads = rng.normal(size=(30, 3))
    a, b = Adam(np.zeros(3), eps=1e-300), Adam(np.zeros(3), eps=1e-300)
    for grad in grads:
        np.testing.assert_allclose(a.direction(grad.copy()), b.direction(1e6 * grad), rtol=1e-10)


def test_integer_templates_give_float_state():
    assert Adam(np.zeros(3, int)).m.dtype == np.float64


def test_schedules():
    assert [constant_schedule(0.3)(t) for t in (0, 99)] == [0.3, 0.3]
    assert polynomial_schedule(2.0, 1.0)(0) == 2.0 and np.isclose(polynomial_schedule(2.0, 1.0)(9), 0.2)
    assert np.isclose(polynomial_schedule(1.0, 0.5, offset=10)(30), 0.5)
    plateau = step_schedule(1.0, 5, 0.1)
    assert [plateau(t) for t in (0, 4)] == [1.0, 1.0] and np.isclose(plateau(5), 0.1)
    cosine = cosine_schedule(1.0, 100, warmup=10, final=0.2)
    assert np.isclose(cosine(0), 0.1) and np.isclose(cosine(9), 1.0) and np.isclose(cosine(10), 1.0)
    assert np.isclose(cosine(55), 0.6) and np.isclose(cosine(100), 0.2) and np.isclose(cosine(500), 0.2)
    assert all(cosine(t) >= cosine(t + 1) for t in range(10, 100))


@pytest.mark.parametrize("call, name", [
    (lambda: Adam(np.zeros(2), beta1=1.0), "beta1"),
    (lambda: Adam(np.zeros(2), beta2=-0.1), "beta2"),
    (lambda: Adam(np.zeros(2), eps=0.0), "eps"),
    (lambda: constant_schedule(0.0), "step_size"),
    (lambda: polynomial_schedule(1.0, offset=0.0), "offset"),
    (lambda: step_schedule(1.0, 0), "every"),
    (lambda: cosine_schedule(1.0, 0), "n_iter"),
])
def test_bad_input_names_the_argument(call, name):
    with pytest.raises(ValueError, match=name):
        call()
