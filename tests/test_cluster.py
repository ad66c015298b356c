"""Side by side: the same bytes as one after the other, on a local cluster and on a scheduler of the user's own."""
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from conftest import call, copy_checkout
from prox_repro.core.project import papers
from toys import CLI, TOYS, copy_toys, make_stale, make_toy_checkout, one_line, snapshot, wait_until


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    return make_toy_checkout(tmp_path_factory.mktemp("toys") / "checkout")


def lock_of(checkout: Path) -> dict:
    return yaml.safe_load((checkout / "dvc.lock").read_text())["stages"]


def test_all_papers_with_two_workers_leave_the_bytes_of_a_serial_run(smoke_checkout, tmp_path):
    """Every figure, table, claim, executed notebook, and dvc.lock itself."""
    side = copy_checkout(tmp_path / "checkout")
    call("prox-repro", "data", "pull", cwd=side, check=True)
    parameters = side / "params.yaml"
    parameters.write_text(parameters.read_text().replace("profile: full", "profile: smoke"))
    call("prox-repro", "repro", "--force", "--no-site", "-j", "2", cwd=side, check=True)
    serial, parallel = snapshot(smoke_checkout / "results"), snapshot(side / "results")
    assert [name for name in serial if serial[name] != parallel.get(name)] == [] and set(serial) == set(parallel)
    locks = [lock_of(folder) for folder in (smoke_checkout, side)]
    assert list(locks[1]) == [*papers(), "ledger", "site"]
    for slug in [*papers(), "ledger"]:
        assert locks[0][slug] == locks[1][slug]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Deployment:
    """A Dask scheduler and workers that know nothing of us, as a user would start them."""

    def __init__(self, folder: Path, workers: int, *options: str, cwd: Path):
        self.address = f"tcp://127.0.0.1:{free_port()}"
        env = {**os.environ, "DASK_DISTRIBUTED__WORKER__DAEMON": "True"}
        run = lambda *words: subprocess.Popen([sys.executable, "-m", "distributed.cli." + words[0], *words[1:]], cwd=cwd, env=env,
                                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes = [run("dask_scheduler", "--host", "127.0.0.1", "--port", self.address.rpartition(":")[2], "--no-dashboard")]
        self.processes += [run("dask_worker", self.address, "--nthreads", "1", "--no-dashboard", "--local-directory", str(folder),
                               *options) for _ in range(workers)]
        if workers:
            from distributed import Client
            with Client(self.address, timeout=30) as client:
                client.wait_for_workers(workers, timeout=60)
        else:
            wait_until(lambda: self._answers())

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self.address.rpartition(":")[2]))) == 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait(timeout=30)


def test_a_scheduler_of_the_users_own(template, tmp_path):
    """The bytes of a local run, through workers that were started elsewhere and offer a graphics card for the paper profile."""
    here, there = (copy_toys(template, tmp_path / name / "checkout") for name in ("here", "there"))
    for toys in (here, there):
        make_stale(toys, *TOYS)
        text = (toys / "params.yaml").read_text()
        (toys / "params.yaml").unlink()
        (toys / "params.yaml").write_text(text.replace("profile: full", "profile: paper"))
    call("prox-repro", "repro", "--no-site", cwd=here, check=True)
    with Deployment(tmp_path / "scratch", 2, "--resources", "gpu=1", cwd=tmp_path) as dask:
        done = call("prox-repro", "repro", "--no-site", "--scheduler", dask.address, cwd=there, check=True)
        assert "2 papers ran" in done.stdout
    assert snapshot(here / "results") == snapshot(there / "results")
    assert (here / "dvc.lock").read_bytes() == (there / "dvc.lock").read_bytes()


def test_workers_that_would_run_something_else_are_refused(template, tmp_path):
    toys = copy_toys(template, tmp_path / "checkout")
    make_stale(toys, *TOYS)
    before = snapshot(toys / "results")
    with Deployment(tmp_path / "scratch", 0, cwd=tmp_path) as dask:
        one_line(call(*CLI, "repro", "--scheduler", dask.address, cwd=toys), "no workers", "dask worker")
    from distributed import Client
    from prox_repro.core.cluster import ReproError, _check_workers
    with Deployment(tmp_path / "scratch", 1, cwd=tmp_path) as dask, Client(dask.address) as client:
        with pytest.raises(ReproError, match="does not see the checkout"):
            _check_workers(client, str(tmp_path / "nowhere"))
    assert snapshot(toys / "results") == before


def test_the_longest_paper_starts_first(template, tmp_path, monkeypatch):
    toys = copy_toys(template, tmp_path / "checkout")
    make_stale(toys, *TOYS)
    (toys / "runs/timings/toy_a-full.json").write_text("[1.0, 2.0]")
    (toys / "runs/timings/toy_b-full.json").write_text("[1.0, 50.0]")
    monkeypatch.setenv("PROX_REPRO_ROOT", str(toys))
    monkeypatch.chdir(toys)
    from prox_repro.core.cluster import make_plan
    plan = make_plan()
    assert plan.slugs == ["toy_b", "toy_a"] and plan.seconds == {"toy_a": 2.0, "toy_b": 50.0}
    assert make_plan(["toy_a"]).slugs == ["toy_a"]


def test_nothing_to_do_is_quick_and_says_so(template, tmp_path):
    toys = copy_toys(template, tmp_path / "checkout")
    start = time.monotonic()
    done = call("prox-repro", "repro", "--no-site", "-j", "4", cwd=toys, check=True)
    assert done.stdout.startswith("0 papers ran") and time.monotonic() - start < 30
    assert subprocess.run(["git", "status", "--porcelain"], cwd=toys, capture_output=True, text=True).stdout == ""


def test_the_table_on_a_terminal(template, tmp_path):
    """A live table: what runs, what is done, time left."""
    import pty
    toys = copy_toys(template, tmp_path / "checkout")
    make_stale(toys, *TOYS)
    master, terminal = pty.openpty()
    running = subprocess.Popen([*CLI, "repro", "--no-site", "-j", "2"], cwd=toys, stdout=subprocess.PIPE, stderr=terminal,
                               env={**os.environ, "PROX_REPRO_ROOT": str(toys), "TERM": "xterm", "COLUMNS": "100"})
    os.close(terminal)
    seen = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    assert running.wait(timeout=60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode(errors="replace"))
    for word in ("waiting", "running", "done", "cell", "s left", "1 of 1 claims reproduced", "2 of 2 papers"):
        assert word in text, word
