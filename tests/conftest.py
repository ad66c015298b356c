"""A copy of the checkout in which a test may run, break and change what it likes, and every paper at smoke."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
os.environ.update(ONE_THREAD)
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
# what the surroundings of a test run say must not reach the runs that a test starts
for name in ("PROX_REPRO_PROFILE", "PROX_REPRO_OUT", "PROX_REPRO_ROOT", "DVC_STAGE", "DVC_ROOT", "IN_TEST"):
    os.environ.pop(name, None)


def tracked_files() -> list[str]:
    """Files of the checkout that git tracks or would track."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, text=True, check=True).stdout
    return sorted({name for name in listed.split("\0") if name and (ROOT / name).is_file()})


def copy_checkout(target: Path) -> Path:
    """A fresh clone of the working tree in `target`, with git and with the data; the store is shared, nothing writes it."""
    for name in tracked_files():
        if not name.startswith("dvcstore/"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    (target / "dvcstore").symlink_to(ROOT / "dvcstore")
    for command in (["git", "init", "-q"], ["git", "add", "-A"],
                    ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "copy"]):
        subprocess.run(command, cwd=target, check=True, capture_output=True)
    return target


def call(*command: str, cwd: Path, check: bool = False, **env: str) -> subprocess.CompletedProcess:
    """Run a command in a copy, as a user would."""
    done = subprocess.run(list(command), cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, "PROX_REPRO_ROOT": str(cwd), **env})
    if check:
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


@pytest.fixture()
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout for one test, without data."""
    return copy_checkout(tmp_path / "checkout")


@pytest.fixture(scope="session")
def smoke_checkout(tmp_path_factory) -> Path:
    """A copy of the checkout in which DVC has run every paper and the ledger at smoke."""
    copy = copy_checkout(tmp_path_factory.mktemp("smoke") / "checkout")
    call("prox-repro", "data", "pull", cwd=copy, check=True)
    parameters = copy / "params.yaml"
    parameters.write_text(parameters.read_text().replace("profile: full", "profile: smoke"))
    call("dvc", "repro", "-f", "ledger", cwd=copy, check=True)
    return copy


@pytest.fixture(scope="session")
def smoke_results(smoke_checkout: Path) -> Path:
    """The folder with the results of every paper at smoke."""
    return smoke_checkout / "results"
