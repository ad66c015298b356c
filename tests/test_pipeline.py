"""The pipeline: stages depend on what they use, a forced rerun changes no byte, a failed run loses nothing."""
import csv
import json
import os
import signal
import subprocess
import time

import pytest
import yaml
from conftest import ROOT, call

from prox_repro.core import pipeline
from prox_repro.core.project import papers

PAPERS = list(papers())


@pytest.fixture()
def stale(checkout, monkeypatch):
    """The stages of a copy that differ from its lock file."""
    monkeypatch.setenv("PROX_REPRO_ROOT", str(checkout))
    return lambda: set(pipeline.stale_stages())


def users_of(module: str) -> set[str]:
    """Papers whose notebooks reach a module through imports, found by importing nothing: text alone."""
    reached = set()
    for slug, info in papers().items():
        names, seen = pipeline.imported_modules(pipeline.notebook_code(ROOT / info.notebook)), set()
        while names:
            name = names.pop()
            path = ROOT / (name.replace(".", "/") + ".py")
            if name in seen or not path.exists():
                continue
            seen.add(name)
            names |= pipeline.imported_modules(path.read_text(), name.rpartition(".")[0])
        if module in seen:
            reached.add(slug)
    return reached


def test_a_committed_checkout_is_not_stale(checkout, stale):
    assert stale() == set()
    assert call("prox-repro", "pipeline", "--check", cwd=checkout).returncode == 0


@pytest.mark.parametrize("module", ["graphs", "ot", "nets", "claims", "cli"])
def test_editing_a_core_module_makes_exactly_its_users_stale(checkout, stale, module):
    path = checkout / "prox_repro" / "core" / f"{module}.py"
    path.write_text(path.read_text() + "\n# changed\n")
    users = users_of(f"prox_repro.core.{module}")
    known = {"graphs": {"colide"}, "ot": {"sinkhorn_newton"}, "nets": {"lpn"}, "claims": set(PAPERS)}.get(module, set())
    assert users >= known and (users == set() if module == "cli" else users)
    closing = {"site"} | ({"ledger"} if module == "claims" else set())
    assert stale() == users | closing


def test_editing_parameters_makes_exactly_that_paper_stale(checkout, stale):
    path = checkout / "params" / "colide.yaml"
    kept = path.read_text()

    def write(profile: str, name: str, value: object) -> None:
        blocks = yaml.safe_load(kept)
        blocks[profile][name] = value
        path.write_text(yaml.safe_dump(blocks))

    write("full", "one_more", 1)
    assert stale() == {"colide"}
    write("paper", "one_more", 1)
    assert stale() == set(), "the block of a profile that does not run must not matter"
    path.write_text(kept)
    seed = checkout / "params.yaml"
    seed.write_text(seed.read_text().replace("seed: 0", "seed: 1"))
    assert stale() == set(PAPERS)


def test_stale_generated_files_are_noticed(checkout):
    stages = yaml.safe_load((checkout / "dvc.yaml").read_text())
    stages["stages"]["colide"]["deps"].pop()
    (checkout / "dvc.yaml").write_text(yaml.dump(stages))
    done = call("prox-repro", "pipeline", "--check", cwd=checkout)
    assert done.returncode == 1 and "stale" in done.stderr
    call("prox-repro", "pipeline", cwd=checkout, check=True)
    lock = yaml.safe_load((checkout / "dvc.lock").read_text())
    del lock["stages"]["colide"]
    (checkout / "dvc.lock").write_text(yaml.dump(lock, sort_keys=False))
    done = call("prox-repro", "pipeline", "--check", cwd=checkout)
    assert done.returncode == 1 and "colide" in done.stderr


def test_a_forced_rerun_leaves_the_lock_file_byte_identical(smoke_checkout):
    lock = smoke_checkout / "dvc.lock"
    before = lock.read_bytes()
    outputs = {p: p.read_bytes() for p in sorted((smoke_checkout / "results").rglob("*")) if p.is_file()}
    assert len([p for p in outputs if p.name == "notebook.ipynb"]) == len(PAPERS)
    call("dvc", "repro", "-f", "ledger", cwd=smoke_checkout, check=True)
    changed = [str(p.relative_to(smoke_checkout)) for p, data in outputs.items() if p.read_bytes() != data]
    assert changed == []
    assert lock.read_bytes() == before


def test_smoke_runs_compute_claims_and_judge_none(smoke_results):
    for slug in PAPERS:
        record = json.loads((smoke_results / slug / "claims.json").read_text())
        assert record["profile"] == "smoke" and record["claims"]
        assert {claim["verdict"] for claim in record["claims"]} == {"not judged"}
        assert all(claim["measured"] is not None for claim in record["claims"])


def test_results_hold_nothing_that_names_a_machine_or_a_time(smoke_results, smoke_checkout):
    for path in smoke_results.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".csv", ".ipynb"):
            text = path.read_text()
            assert str(smoke_checkout) not in text and "ipykernel_" not in text and "0x7f" not in text, path


def test_metrics_and_plots_show_the_ledger_and_the_curves(smoke_checkout):
    shown = json.loads(call("dvc", "metrics", "show", "--json", cwd=smoke_checkout, check=True).stdout)
    files = shown[""]["data"]
    assert "reproduced" in files["results/ledger.json"]["data"]
    assert {f"results/{slug}/verdicts.json" for slug in PAPERS} <= set(files)
    plots = yaml.safe_load((smoke_checkout / "dvc.yaml").read_text())["plots"]
    assert {next(iter(plot)).partition(":")[0] for plot in plots} == set(PAPERS), "each paper has a main curve"
    for plot in plots:
        (settings,) = plot.values()
        ((path, column),) = settings["y"].items()
        with open(smoke_checkout / path, newline="") as table:
            head = next(csv.reader(table))
        assert column in head and settings["x"] in head


def test_a_failing_notebook_leaves_the_previous_results_in_place(smoke_checkout):
    target = smoke_checkout / "results" / "colide"
    before = {p.name: p.read_bytes() for p in target.rglob("*") if p.is_file()}
    path = smoke_checkout / "nbs" / "recovery" / "colide.ipynb"
    kept = path.read_text()
    nb = json.loads(kept)
    nb["cells"].append({"cell_type": "code", "id": "broken", "metadata": {}, "outputs": [], "execution_count": None,
                        "source": ["raise ArithmeticError('on purpose')\n"]})
    path.write_text(json.dumps(nb))
    try:
        done = call("dvc", "repro", "-s", "colide", cwd=smoke_checkout)
        assert done.returncode != 0
        assert "on purpose" in done.stderr and "Traceback" not in done.stderr
        assert {p.name: p.read_bytes() for p in target.rglob("*") if p.is_file()} == before
        assert not list((smoke_checkout / "results").glob(".colide.*"))
    finally:
        path.write_text(kept)


def test_a_killed_run_leaves_the_previous_results_in_place(smoke_checkout):
    folder = smoke_checkout / "runs" / "kill"
    call("prox-repro", "run", "colide", "-p", "smoke", "-o", str(folder), cwd=smoke_checkout, check=True)
    before = {p.name: p.read_bytes() for p in (folder / "colide").rglob("*") if p.is_file()}
    env = {**os.environ, "PROX_REPRO_ROOT": str(smoke_checkout)}
    running = subprocess.Popen(["prox-repro", "run", "colide", "-p", "smoke", "-o", str(folder)], cwd=smoke_checkout, env=env,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(folder.glob(".colide.*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert {p.name: p.read_bytes() for p in (folder / "colide").rglob("*") if p.is_file()} == before
    call("prox-repro", "run", "colide", "-p", "smoke", "-o", str(folder), cwd=smoke_checkout, check=True)
    assert not list(folder.glob(".colide.*")), "the next run sweeps what the killed one left"


def test_a_second_run_of_the_same_paper_is_refused(smoke_checkout):
    import fcntl
    lock = smoke_checkout / "runs" / "locks" / "colide.lock"
    with open(lock, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        done = call("prox-repro", "run", "colide", "-p", "smoke", cwd=smoke_checkout)
    assert done.returncode == 1 and "another run of this paper" in done.stderr


def test_a_notebook_without_a_parameters_cell_is_refused(smoke_checkout):
    path = smoke_checkout / "nbs" / "recovery" / "colide.ipynb"
    kept = path.read_text()
    nb = json.loads(kept)
    (cell,) = [c for c in nb["cells"] if "parameters" in c["metadata"].get("tags", [])]
    cell["source"] = ["n = 3\n"]
    path.write_text(json.dumps(nb))
    try:
        done = call("prox-repro", "run", "colide", "-p", "smoke", cwd=smoke_checkout)
        assert done.returncode == 1 and "parameters" in done.stderr
    finally:
        path.write_text(kept)


def test_an_edited_data_file_stops_a_stage(smoke_checkout):
    path = smoke_checkout / "data" / "sachs" / "README.md"
    kept = path.read_bytes()
    path.chmod(0o644)
    path.unlink()
    path.write_bytes(kept + b"x")
    lock, pointer = (smoke_checkout / "dvc.lock").read_bytes(), (smoke_checkout / "data.dvc").read_bytes()
    try:
        done = call("dvc", "repro", "-s", "-f", "colide", cwd=smoke_checkout)
        assert done.returncode != 0 and "data/sachs/README.md" in done.stderr
        assert (smoke_checkout / "dvc.lock").read_bytes() == lock
        assert (smoke_checkout / "data.dvc").read_bytes() == pointer
    finally:
        path.write_bytes(kept)


def test_the_lock_file_is_in_the_order_of_the_pipeline(checkout):
    stages = list(yaml.safe_load((checkout / "dvc.yaml").read_text())["stages"])
    assert stages == list(yaml.safe_load((checkout / "dvc.lock").read_text())["stages"])
    assert stages == [*PAPERS, "ledger", "site"]
