"""Seconds of a federated round with all active clients in one stacked pass, against a loop over the clients.

`target` is the largest accepted ratio time(ours) / time(peer), on one thread; every peer computes the same round. Stacking saves calls, not
arithmetic: the smaller the network and the more is done around its gradients, the more it saves. The target is for the larger one.
"""
import numpy as np
import pytest
import torch
from one_thread import one_thread  # noqa: F401

from prox_repro.core.nets import MLP, seeded
from prox_repro.transfer.fedspeed import FedProblem, client_batches, local_update

CLIENTS, SAMPLES, BATCH, STEPS, LR, LAM, RHO = 10, 100, 50, 10, 0.1, 10.0, 0.1
GROUP = f"fedspeed: one round of {{}}, {CLIENTS} clients, perceptron {{}}, batch {BATCH}, {STEPS} steps, {{}}"


def make(sizes, dtype):
    rng = np.random.default_rng(0)
    X = torch.from_numpy(rng.standard_normal((CLIENTS, SAMPLES, sizes[0]))).to(dtype)
    y = torch.from_numpy(rng.integers(0, sizes[2], (CLIENTS, SAMPLES)))
    problem = FedProblem(X, y, seeded(0, MLP, sizes[0], [sizes[1]], sizes[2]).to(dtype))
    dual = torch.from_numpy(0.01 * rng.standard_normal((CLIENTS, len(problem.initial())))).to(dtype)
    return problem, problem.initial(), dual, torch.from_numpy(client_batches(CLIENTS, SAMPLES, BATCH, STEPS, rng))


def stacked(problem, x, dual, batches, speed):
    options = dict(lam=LAM, rho=RHO) if speed else {}
    return local_update(problem, torch.arange(CLIENTS), x, dual if speed else 0.0, batches, lr=LR, clip=10.0 if speed
                        else None, **options)


def loop(problem, x, dual, batches, speed, sizes):
    "Client by client with torch.nn layers and torch.optim.SGD, as federated code usually is."
    ends = []
    for i in range(CLIENTS):
        net = torch.nn.Sequential(torch.nn.Linear(sizes[0], sizes[1]), torch.nn.ReLU(),
                                  torch.nn.Linear(sizes[1], sizes[2])).to(x.dtype)
        torch.nn.utils.vector_to_parameters(x.clone(), net.parameters())
        weights = list(net.parameters())
        optimizer = torch.optim.SGD(weights, lr=LR)
        split = lambda flat: [part.view_as(w) for part, w in zip(flat.split([w.numel() for w in weights]), weights)]
        centers, duals = split(x), split(dual[i])

        def backward():
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(data), labels).backward()

        for batch in batches[:, i]:
            data, labels = problem.X[i, batch], problem.y[i, batch]
            backward()
            if speed:
                with torch.no_grad():
                    norm = torch.sqrt(sum(w.grad.square().sum() for w in weights)) + 1e-7
                    ascent = [RHO * w.grad / norm for w in weights]
                    for w, e in zip(weights, ascent):
                        w += e
                backward()
                with torch.no_grad():
                    for w, e, c, g in zip(weights, ascent, centers, duals):
                        w -= e
                        w.grad += (w - c) / LAM - g
                torch.nn.utils.clip_grad_norm_(weights, 10.0)
            optimizer.step()
        ends.append(torch.nn.utils.parameters_to_vector(weights).detach())
    return torch.stack(ends)


CASES = [(sizes, dtype) for sizes in ((196, 32, 10), (64, 16, 10)) for dtype in (torch.float32, torch.float64)]


@pytest.mark.parametrize("sizes, dtype", CASES, ids=[f"{s[0]}-{s[1]}-{s[2]}-{str(d)[6:]}" for s, d in CASES])
@pytest.mark.parametrize("speed", [False, True], ids=["fedavg", "fedspeed"])
@pytest.mark.parametrize("method", ["stacked", "loop"])
def test_round(benchmark, sizes, dtype, speed, method):
    data = make(sizes, dtype)
    benchmark.group = GROUP.format("FedSpeed" if speed else "FedAvg", "-".join(map(str, sizes)), str(dtype)[6:])
    run = {"stacked": lambda: stacked(*data, speed), "loop": lambda: loop(*data, speed, sizes)}[method]
    benchmark.extra_info.update(method={"stacked": "all clients stacked (ours)",
                                        "loop": "loop of torch.optim.SGD over clients"}[method],
                                **({"ours": True} if method == "stacked" else {"target": 0.25} if sizes[0] == 196 else {}))
    assert torch.allclose(run(), stacked(*data, speed), atol=1e-4)
    benchmark.pedantic(run, rounds=15, warmup_rounds=2)
