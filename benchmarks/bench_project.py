"""How long the everyday commands take: start-up, and `dvc repro` when there is nothing to do, with 48 papers."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from conftest import call, copy_checkout  # noqa: E402


def timed(benchmark, command: list[str], limit: float, group: str, rounds: int = 5, **kwargs) -> None:
    """Time a whole process."""
    benchmark.group = group
    benchmark.extra_info.update(method=" ".join(Path(c).name if "/" in c else c for c in command)[:60], limit_s=limit)
    benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True, **kwargs), rounds=rounds, warmup_rounds=1)


def test_import(benchmark):
    timed(benchmark, [sys.executable, "-c", "import prox_repro"], 0.3, "project: start-up")


def test_help(benchmark):
    timed(benchmark, ["prox-repro", "--help"], 0.7, "project: start-up")


def test_list(benchmark):
    timed(benchmark, ["prox-repro", "list"], 0.7, "project: start-up", cwd=ROOT)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A checkout with 48 papers, all of them scaffolds but those that stand, with results in place."""
    copy = copy_checkout(tmp_path_factory.mktemp("many") / "checkout")
    env = {**os.environ, "PROX_REPRO_ROOT": str(copy)}
    call("prox-repro", "data", "pull", cwd=copy, check=True)
    code = ("from prox_repro.core import export, project\n"
            "export._nbdev_export = lambda folder: None\n"
            "chapters = list(project.CHAPTERS)\n"
            "for i in range(48 - len(project.papers())):\n"
            "    export.new_paper(f'toy_{i:02d}', chapters[i % len(chapters)], None)\n")
    subprocess.run([sys.executable, "-c", code], cwd=copy, env=env, check=True)
    # realistic parameter files: as many values as a real paper has
    for path in (copy / "params").glob("toy_*.yaml"):
        text = path.read_text()
        path.write_text(text.replace("full:\n", "full:\n" + "".join(f"  value_{k}: {k}.5\n" for k in range(30))))
    first = copy / "results" / "toy_00"
    call("prox-repro", "run", "toy_00", "-p", "full", "-o", str(copy / "results"), cwd=copy, check=True)
    for path in (copy / "params").glob("toy_*.yaml"):
        if path.stem != "toy_00":
            shutil.copytree(first, copy / "results" / path.stem)
    for name in ("figures", "curves"):
        for slug in (p.stem for p in (copy / "params").glob("*.yaml")):
            (copy / "results" / slug / name).mkdir(parents=True, exist_ok=True)
            if not any((copy / "results" / slug / name).iterdir()):
                (copy / "results" / slug / name / "placeholder").write_text("for the timing only\n")
    for slug in (p.stem for p in (copy / "params").glob("*.yaml")):
        notebook = copy / "results" / slug / "notebook.ipynb"
        if not notebook.exists():
            shutil.copy(first / "notebook.ipynb", notebook)
    call("prox-repro", "claims", "--accept", cwd=copy, check=True)
    (copy / "_site").mkdir()
    (copy / "_site" / "index.html").write_text("for the timing only\n")
    call("dvc", "commit", "-q", "-f", cwd=copy, check=True)
    assert "up to date" in call("dvc", "repro", cwd=copy, check=True).stdout
    return copy


def test_noop_repro_of_48_papers(benchmark, many):
    timed(benchmark, ["dvc", "repro"], 3.0, "project: nothing to do, 48 papers", rounds=5, cwd=many,
          env={**os.environ, "PROX_REPRO_ROOT": str(many)})
    dry = call("dvc", "repro", "--dry", cwd=many, check=True).stdout
    assert "Running stage" not in dry


def test_noop_repro_of_one_of_48_papers(benchmark, many):
    timed(benchmark, ["dvc", "repro", "toy_00"], 3.0, "project: nothing to do, 48 papers", rounds=5, cwd=many,
          env={**os.environ, "PROX_REPRO_ROOT": str(many)})
