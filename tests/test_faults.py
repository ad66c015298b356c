"""Faults, injected for real: nothing is lost, nothing is half-written, and one clear line says what to do."""
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from conftest import ROOT, call
from toys import (
    CLI, TOYS, copy_toys, edit, make_stale, make_toy_checkout, one_line, snapshot, wait_until, write_notebook,
)

RNG = random.Random(20230601)


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    return make_toy_checkout(tmp_path_factory.mktemp("toys") / "checkout")


@pytest.fixture()
def toys(template, tmp_path) -> Path:
    return copy_toys(template, tmp_path / "checkout")


@pytest.fixture(scope="module")
def shared(template, tmp_path_factory) -> Path:
    """A copy for faults that leave no trace."""
    return copy_toys(template, tmp_path_factory.mktemp("shared") / "checkout")


def start(*arguments: str, cwd: Path, **env: str) -> subprocess.Popen:
    """A command that hears Ctrl-C, even where the tests run in the background and were told not to."""
    return subprocess.Popen([*CLI, *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "PROX_REPRO_ROOT": str(cwd), **env}, start_new_session=True,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def as_stage(slug: str) -> dict[str, str]:
    return {"DVC_STAGE": slug}


def is_sound(toys: Path) -> None:
    """Every paper's results are whole: all files of a run, the ledger's verdicts are those of the claims."""
    for slug in TOYS:
        folder = toys / "results" / slug
        assert (folder / "tables" / "steps.csv").read_text().count("\n") == 21
        assert json.loads((folder / "claims.json").read_text())["claims"][0]["verdict"] == "reproduced"
        assert json.loads((folder / "notebook.ipynb").read_text())["cells"]


def recovers(toys: Path, *options: str) -> None:
    """The next call brings everything up to date, and nothing of the accident is left."""
    done = call("prox-repro", "repro", "--no-site", *options, cwd=toys)
    assert done.returncode == 0, done.stderr[-2000:]
    is_sound(toys)
    assert call("prox-repro", "repro", "--dry", cwd=toys).stdout.startswith("0 of 2")
    left = [path.name for path in (toys / "results").iterdir() if path.name.startswith(".")]
    assert not left, left


def commands_below(pid: int) -> list[tuple[psutil.Process, list[str]]]:
    """Processes that descend from another, with their command lines."""
    found = []
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                found.append((process, process.cmdline()))
    return found


def kernels_of(pid: int) -> list[psutil.Process]:
    return [process for process, words in commands_below(pid) if any("ipykernel" in word for word in words)]


def stages_of(pid: int, slug: str) -> list[psutil.Process]:
    return [process for process, words in commands_below(pid) if words[-2:] == ["run", slug]]


def none_running(checkout: Path) -> bool:
    """Whether no process works in this checkout any more."""
    for process in psutil.process_iter(["environ"]):
        environ = process.info["environ"] or {}
        if environ.get("PROX_REPRO_ROOT") == str(checkout) and process.pid != os.getpid() and process.status() != "zombie":
            return False
    return True


# ---- kills


@pytest.mark.parametrize("attempt", range(3))
def test_kill_during_a_run(toys, attempt):
    make_stale(toys, "toy_a")
    before = snapshot(toys / "results")
    running = start("run", "toy_a", cwd=toys, **as_stage("toy_a"))
    time.sleep(RNG.uniform(0.3, 2.0))
    running.kill()
    running.communicate()
    assert snapshot(toys / "results") == before
    wait_until(lambda: none_running(toys))
    recovers(toys)


def test_kill_of_the_kernel(toys):
    make_stale(toys, "toy_a", pause=0.5)
    before = snapshot(toys / "results")
    running = start("run", "toy_a", cwd=toys, **as_stage("toy_a"))
    kernel = wait_until(lambda: kernels_of(running.pid))[0]
    time.sleep(RNG.uniform(1.0, 2.0))
    kernel.kill()
    out, err = running.communicate(timeout=60)
    one_line(subprocess.CompletedProcess([], running.returncode, out, err), "toy_a", "log")
    assert snapshot(toys / "results") == before


def test_kill_during_saving(tmp_path):
    """Results are put into place by two renames: whatever the moment, the folder is whole or comes back whole."""
    target = tmp_path / "results" / "toy"
    code = f"""
import tempfile
from pathlib import Path
from prox_repro.core.engine import swap_into_place
target = Path({str(target)!r})
for generation in range(10**6):
    fresh = Path(tempfile.mkdtemp(prefix=".toy.", dir=target.parent))
    for number in range(20):
        (fresh / f"{{number}}.txt").write_text(str(generation))
    swap_into_place(fresh, target)
    print(generation, flush=True)
"""
    from prox_repro.core.engine import sweep
    target.parent.mkdir()
    caught = 0
    for attempt in range(15):
        saving = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        saving.stdout.readline()
        time.sleep(RNG.uniform(0.0, 0.05))
        saving.kill()
        saving.communicate()
        caught += not target.exists()
        sweep(target)
        contents = {path.read_text() for path in target.iterdir()}
        assert len(list(target.iterdir())) == 20 and len(contents) == 1
        assert [path.name for path in target.parent.iterdir()] == ["toy"]


@pytest.mark.parametrize("attempt", range(3))
def test_kill_while_dvc_commits(toys, attempt):
    make_stale(toys, *TOYS)
    for slug in TOYS:
        call("prox-repro", "run", slug, cwd=toys, check=True, DVC_STAGE=slug)
    committing = subprocess.Popen(["dvc", "commit", "--force", *TOYS], cwd=toys, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
    time.sleep(RNG.uniform(0.2, 1.0))
    committing.kill()
    committing.wait()
    recovers(toys)


@pytest.mark.parametrize("attempt", range(2))
def test_kill_of_dvc_repro(toys, attempt):
    make_stale(toys, *TOYS)
    before = snapshot(toys / "results")
    running = subprocess.Popen(["dvc", "repro", "ledger"], cwd=toys, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={**os.environ, "PROX_REPRO_ROOT": str(toys)}, start_new_session=True)
    time.sleep(RNG.uniform(0.8, 3.0))
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    wait_until(lambda: none_running(toys))
    assert set(snapshot(toys / "results")) == set(before)
    recovers(toys)


def test_control_c_during_a_run(toys):
    make_stale(toys, "toy_a", pause=0.3)
    before = snapshot(toys / "results")
    running = start("run", "toy_a", cwd=toys, **as_stage("toy_a"))
    wait_until(lambda: kernels_of(running.pid))
    time.sleep(RNG.uniform(0.5, 2.0))
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 130
    one_line(subprocess.CompletedProcess([], 130, out, err), "stopped", "half-written")
    assert snapshot(toys / "results") == before
    wait_until(lambda: none_running(toys))


@pytest.mark.parametrize("only_the_driver", [False, True])
def test_control_c_side_by_side(toys, only_the_driver):
    make_stale(toys, "toy_a")
    make_stale(toys, "toy_b", pause=3.0)
    before, lock = snapshot(toys / "results" / "toy_b"), (toys / "dvc.lock").read_bytes()
    running = start("repro", "--no-site", "-j", "2", cwd=toys)
    wait_until(lambda: (toys / "dvc.lock").read_bytes() != lock, 60)  # the paper that is done is committed
    time.sleep(RNG.uniform(0.5, 1.5))
    (os.kill if only_the_driver else os.killpg)(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 130
    one_line(subprocess.CompletedProcess([], 130, out, err), "stopped")
    assert snapshot(toys / "results" / "toy_b") == before
    wait_until(lambda: none_running(toys))
    assert call("prox-repro", "repro", "--dry", cwd=toys).stdout.startswith("toy_b"), "what was done is kept"
    make_stale(toys, "toy_b")
    recovers(toys)


def test_kill_of_a_worker(toys):
    """Another worker takes the paper over; the killed worker's run is gone with it."""
    make_stale(toys, *TOYS, pause=0.2)
    running = start("repro", "--no-site", "-j", "2", cwd=toys)
    stage = wait_until(lambda: stages_of(running.pid, "toy_a"))[0]
    time.sleep(RNG.uniform(0.2, 2.0))
    stage.parent().kill()
    out, err = running.communicate(timeout=90)
    assert running.returncode == 0, err
    is_sound(toys)
    assert call("prox-repro", "repro", "--dry", cwd=toys).stdout.startswith("0 of 2")


def test_kill_of_the_driver(toys):
    make_stale(toys, *TOYS, pause=0.2)
    before = snapshot(toys / "results")
    running = start("repro", "--no-site", "-j", "2", cwd=toys)
    wait_until(lambda: stages_of(running.pid, "toy_a"))
    time.sleep(RNG.uniform(0.2, 2.0))
    running.kill()
    running.communicate()
    wait_until(lambda: none_running(toys))
    assert set(snapshot(toys / "results")) == set(before)
    recovers(toys, "-j", "2")


# ---- disk


@pytest.fixture()
def small_disk(tmp_path) -> Path:
    """A file system of a few megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a file system needs more rights than this user has")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Write until the disk is full."""
    with open(folder / "ballast", "wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while ballast.write(bytes(4096)):
            pass


def test_full_disk_during_a_run(toys, small_disk):
    before = snapshot(toys / "results")
    shutil.move(toys / "results", small_disk / "results")
    (toys / "results").symlink_to(small_disk / "results")
    write_notebook(toys, "toy_a", extra="import os\nopen(os.environ['PROX_REPRO_OUT'] + '/big', 'wb').write(bytes(20_000_000))")
    done = call(*CLI, "run", "toy_a", cwd=toys, DVC_STAGE="toy_a")
    one_line(done, "No space left", "toy_a")
    assert snapshot(small_disk / "results") == before
    assert not [path for path in (small_disk / "results").iterdir() if path.name.startswith(".toy")], "its leavings are gone"


def test_full_disk_before_a_run(toys, small_disk):
    shutil.move(toys / "results", small_disk / "results")
    (toys / "results").symlink_to(small_disk / "results")
    fill(small_disk)
    before = snapshot(small_disk / "results")
    done = call(*CLI, "run", "toy_a", cwd=toys, DVC_STAGE="toy_a")
    one_line(done, "No space left")
    assert snapshot(small_disk / "results") == before


def test_full_disk_while_the_ledger_is_written(toys, small_disk):
    make_stale(toys, "toy_a")
    call("prox-repro", "run", "toy_a", cwd=toys, check=True, DVC_STAGE="toy_a")
    shutil.move(toys / "results", small_disk / "results")
    (toys / "results").symlink_to(small_disk / "results")
    before = snapshot(small_disk / "results")
    fill(small_disk)
    one_line(call(*CLI, "claims", "--write", cwd=toys), "No space left", "free")
    assert snapshot(small_disk / "results") == before


def test_full_disk_during_a_pull(toys, small_disk):
    shutil.rmtree(toys / "data")
    shutil.rmtree(toys / ".dvc" / "cache")
    (small_disk / "cache").mkdir()
    (toys / ".dvc" / "cache").symlink_to(small_disk / "cache")
    (small_disk / "data").mkdir()
    (toys / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {small_disk / 'cache'}\n")
    one_line(call(*CLI, "data", "pull", cwd=toys), "MB")
    assert not (toys / "data").exists() or not snapshot(toys / "data")


def test_read_only_folder(template, tmp_path):
    """A reader's copy: looking works, running says why not."""
    copy = copy_toys(template, tmp_path / "checkout")
    mounted = subprocess.run(["mount", "--bind", "-o", "ro", str(copy), str(copy)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting needs more rights than this user has")
    try:
        before = snapshot(copy / "results")
        assert call(*CLI, "list", cwd=copy).returncode == 0 and call(*CLI, "claims", cwd=copy).returncode == 0
        one_line(call(*CLI, "run", "toy_a", cwd=copy, DVC_STAGE="toy_a"), "read-only", "list")
        one_line(call(*CLI, "repro", cwd=copy), "read-only", "list")
        assert snapshot(copy / "results") == before
    finally:
        subprocess.run(["umount", "-l", str(copy)], check=True)


# ---- damaged files


@pytest.mark.parametrize("damage", ["truncated", "flipped", "deleted"])
def test_damaged_data_file(toys, damage):
    path = RNG.choice(sorted(p for p in (toys / "data").rglob("*") if p.is_file() and p.name != "MANIFEST.json"))
    raw, before = path.read_bytes(), snapshot(toys / "results")
    if damage == "deleted":
        path.unlink()
    else:
        place = RNG.randrange(len(raw))
        edit(path, raw[:place] if damage == "truncated" else raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1:])
    name = path.relative_to(toys).as_posix()
    one_line(call(*CLI, "run", "toy_a", cwd=toys, DVC_STAGE="toy_a"), name, "prox-repro data pull")
    one_line(call(*CLI, "repro", cwd=toys), name, "prox-repro data pull")
    assert snapshot(toys / "results") == before
    call("prox-repro", "data", "pull", "--force", cwd=toys, check=True)
    assert path.read_bytes() == raw


def test_missing_data(toys):
    shutil.rmtree(toys / "data")
    one_line(call(*CLI, "repro", cwd=toys), "data/ missing", "prox-repro data pull")


def test_missing_store(toys):
    shutil.rmtree(toys / "data")
    shutil.rmtree(toys / ".dvc" / "cache")
    (toys / "dvcstore").unlink()
    one_line(call(*CLI, "data", "pull", cwd=toys), "dvcstore", "git checkout")
    assert not (toys / "data").exists()


def test_damaged_store(toys):
    listing = json.loads(next(p for p in (toys / ".dvc/cache/files/md5").rglob("*.dir") if "MANIFEST" in p.read_text()).read_text())
    chosen = RNG.choice(listing)
    shutil.rmtree(toys / "data")
    shutil.rmtree(toys / ".dvc" / "cache")
    (toys / "dvcstore").unlink()
    shutil.copytree(ROOT / "dvcstore", toys / "dvcstore")
    path = toys / "dvcstore/files/md5" / chosen["md5"][:2] / chosen["md5"][2:]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    one_line(call(*CLI, "data", "pull", cwd=toys), chosen["relpath"], "git checkout")
    assert not (toys / "data").exists() or not snapshot(toys / "data")


@pytest.mark.parametrize("damage", ["truncated", "deleted"])
def test_damaged_cache_object(toys, damage):
    """A figure's bytes in DVC's cache are gone or wrong: what is in results/ stays, and the next reproduction mends the cache."""
    lock = (toys / "dvc.lock").read_text()
    md5 = re.search(r"path: results/toy_a/notebook.ipynb\n\s+hash: md5\n\s+md5: (\w+)", lock)[1]
    path = toys / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    raw = path.read_bytes()
    edit(path, raw[:100]) if damage == "truncated" else path.unlink()
    (toys / "results/toy_a/notebook.ipynb").unlink()
    recovers(toys)
    assert path.read_bytes() == raw == (toys / "results/toy_a/notebook.ipynb").read_bytes()


@pytest.mark.parametrize("name, content, words", [
    ("params.yaml", "profile: [full\n", ("params.yaml", "line")),
    ("params.yaml", "profile: huge\nseed: 0\n", ("huge", "smoke")),
    ("params.yaml", None, ("params.yaml",)),
    ("params/toy_a.yaml", "full: {steps: 3\n", ("params/toy_a.yaml", "line")),
    ("nbs/recovery/toy_a.ipynb", '{"cells": [', ("toy_a.ipynb",)),
    ("dvc.yaml", "stages: [", ("dvc.yaml",)),
    ("dvc.lock", "<<<<<<< HEAD\nschema: '2.0'\n=======\n", ("dvc.lock",)),
    (".dvc/tmp/rwlock", '{"half', ("rwlock",)),
    (".dvc/config", "[core\n", (".dvc/config",)),
])
def test_damaged_text_file(toys, name, content, words):
    before = snapshot(toys / "results")
    path = toys / name
    path.unlink(missing_ok=True)
    if content is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    one_line(call(*CLI, "repro", "--no-site", cwd=toys), *words)
    assert snapshot(toys / "results") == before


def test_damaged_results(toys):
    """A truncated claims.json is named, and run again."""
    path = toys / "results" / "toy_a" / "claims.json"
    edit(path, path.read_bytes()[: RNG.randrange(5, 40)])
    for command in ("list", "claims"):
        one_line(call(*CLI, command, cwd=toys), "results/toy_a/claims.json", "repro")
    recovers(toys)


# ---- notebooks that misbehave


@pytest.mark.parametrize("extra, options, words", [
    ("raise KeyError('no such thing')", (), ("toy_a failed in cell", "KeyError", "no such thing", "log")),
    ("import os\nos.kill(os.getpid(), 11)", (), ("toy_a", "log")),
    ("import sys\nsys.exit(3)", (), ("toy_a", "log")),
    ("time.sleep(1000)", ("--time-limit", "6"), ("toy_a", "not done after 6 s", "--time-limit")),
    ("import numpy as np\nheap = [np.ones(10**7) for _ in range(100)]", ("--memory-limit", "1"), ("toy_a", "emory")),
    ("import shutil\nshutil.rmtree(__import__('os').environ['PROX_REPRO_OUT'])", (), ("toy_a",)),
], ids=["raises", "crashes", "exits", "hangs", "eats memory", "deletes its folder"])
def test_misbehaving_notebook(toys, extra, options, words):
    before = snapshot(toys / "results")
    write_notebook(toys, "toy_a", extra=extra)
    one_line(call(*CLI, "run", "toy_a", *options, cwd=toys, DVC_STAGE="toy_a"), *words)
    assert snapshot(toys / "results") == before
    assert not [path.name for path in (toys / "results").iterdir() if path.name.startswith(".toy")]


def test_one_failing_paper_does_not_stop_the_others(toys):
    make_stale(toys, "toy_b")
    write_notebook(toys, "toy_a", extra="raise RuntimeError('broken on purpose')")
    before = snapshot(toys / "results" / "toy_a")
    one_line(call(*CLI, "repro", "--no-site", "-j", "2", cwd=toys), "1 of 2 papers failed", "toy_a", "broken on purpose", "kept")
    assert snapshot(toys / "results" / "toy_a") == before
    assert "43" in (toys / "results/toy_b/tables/steps.csv").read_text()
    write_notebook(toys, "toy_a")
    assert call("prox-repro", "repro", "--dry", cwd=toys).stdout.startswith("0 of 2"), "toy_b was committed"
    recovers(toys)


# ---- two at once, and changes under way


def test_two_reproductions_at_once(toys):
    make_stale(toys, *TOYS, pause=0.2)
    first = start("repro", "--no-site", "-j", "2", cwd=toys)
    wait_until(lambda: (toys / "runs/logs/toy_a-repro.log").exists())
    one_line(call(*CLI, "repro", cwd=toys), "another", "under way")
    out, err = first.communicate(timeout=90)
    assert first.returncode == 0, err
    is_sound(toys)


def test_two_runs_of_one_paper_at_once(toys):
    make_stale(toys, "toy_a", pause=0.3)
    first = start("run", "toy_a", cwd=toys, **as_stage("toy_a"))
    wait_until(lambda: kernels_of(first.pid))
    one_line(call(*CLI, "run", "toy_a", cwd=toys, DVC_STAGE="toy_a"), "under way")
    first.communicate(timeout=60)
    assert first.returncode == 0
    is_sound(toys)


def test_code_that_changes_while_a_paper_runs(toys):
    """What ran is not what is there now, so DVC must not record it."""
    make_stale(toys, *TOYS, pause=0.15)
    lock = (toys / "dvc.lock").read_bytes()
    running = start("repro", "--no-site", "toy_a", cwd=toys)
    wait_until(lambda: (toys / "runs/logs/toy_a-repro.log").exists())
    time.sleep(1.5)
    parameters = toys / "params" / "toy_a.yaml"
    text = parameters.read_text()
    edit(parameters, text.replace("value: 43", "value: 44"))
    out, err = running.communicate(timeout=60)
    one_line(subprocess.CompletedProcess([], running.returncode, out, err), "toy_a", "changed while it ran")
    assert (toys / "dvc.lock").read_bytes() == lock
    recovers(toys)
    assert "44" in (toys / "results/toy_a/tables/steps.csv").read_text()


@pytest.mark.parametrize("address, words", [
    ("tcp://127.0.0.1:9", ("no scheduler answers", "127.0.0.1:9")), ("nonsense", ("no scheduler answers", "nonsense"))])
def test_no_scheduler_at_the_address(toys, address, words):
    make_stale(toys, "toy_a")
    one_line(call(*CLI, "repro", "--scheduler", address, cwd=toys), *words)


def test_unknown_revision_and_paper(shared):
    one_line(call(*CLI, "claims", "--diff", "no-such-tag", cwd=shared), "no-such-tag")
    assert "toy_a" in one_line(call(*CLI, "repro", "toy_", cwd=shared))
    one_line(call(*CLI, "repro", "-j", "0", cwd=shared), "-j", "0")
