"""A checkout with two tiny papers in place of the real ones, for tests that break things: a run of one takes two seconds."""
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

from conftest import call, copy_checkout

TOYS = ("toy_a", "toy_b")
CLI = [sys.executable, "-c", "from prox_repro.core.cli import main; main()"]
CELLS = {
    "md-title": "# {slug}\n\n> A paper of this test.",
    "md-paper": "**Paper.** Nobody: *Nothing*.",
    "exp": "#| default_exp recovery.{slug}",
    "def": "#| export\ndef answer() -> int:\n    \"The answer.\"\n    return 42",
    "imports": "import time\nimport pandas as pd\nfrom prox_repro.core.run import Run",
    "parameters": "profile = \"full\"",
    "run": "run = Run(\"{slug}\", profile)\np = run.params\nrun.claim(\"C1\", \"It is 42\", where=\"nowhere\", paper=\"42\", rule=\"each >= 42\", seeds=[0])",
    "work": "for _ in range(p.steps):\n    time.sleep(p.pause)\n{extra}",
    "table": "run.table(pd.DataFrame({{\"step\": range(p.steps), \"value\": p.value}}), \"steps\", \"Steps.\")",
    "judge": "run.judge(\"C1\", [float(p.value)])",
    "finish": "run.finish()",
}
PARAMS = "full:\n  steps: 20\n  pause: 0.05\n  value: 42\nsmoke:\n  steps: 2\npaper: {}\n"


def write_notebook(checkout: Path, slug: str, extra: str = "") -> None:
    """The notebook of a toy; `extra` runs in the middle."""
    cells = []
    for key, text in CELLS.items():
        markdown = key.startswith("md-")
        cell = {"cell_type": "markdown" if markdown else "code", "id": key, "metadata": {}, "source":
                text.format(slug=slug, extra=extra).splitlines(keepends=True)}
        if not markdown:
            cell |= {"outputs": [], "execution_count": None}
        if key == "parameters":
            cell["metadata"] = {"tags": ["parameters"]}
        cells.append(cell)
    notebook = {"cells": cells, "metadata": {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}},
                "nbformat": 4, "nbformat_minor": 5}
    path = checkout / "nbs" / "recovery" / f"{slug}.ipynb"
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def make_toy_checkout(folder: Path) -> Path:
    """Two toy papers, run, committed to DVC and to git."""
    copy = copy_checkout(folder)
    for chapter in (copy / "nbs").iterdir():
        if chapter.is_dir() and chapter.name not in ("core", "guide"):
            shutil.rmtree(copy / "nbs" / chapter.name)
            shutil.rmtree(copy / "prox_repro" / chapter.name, ignore_errors=True)
    for path in [*(copy / "params").iterdir(), copy / "dvc.lock"]:
        path.unlink()
    shutil.rmtree(copy / "results")
    (copy / "results").mkdir()
    (copy / "results" / "release.json").write_text('{"name": "0", "claims": []}\n')
    (copy / "nbs" / "recovery").mkdir()
    for slug in TOYS:
        write_notebook(copy, slug)
        (copy / "params" / f"{slug}.yaml").write_text(PARAMS)
    for command in (["prox-repro", "data", "pull"], ["prox-repro", "export"], ["dvc", "repro", "ledger"],
                    ["git", "add", "-A"], ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "toys"]):
        call(*command, cwd=copy, check=True)
    return copy


def copy_toys(template: Path, target: Path) -> Path:
    """A copy of a toy checkout; data and cache share their bytes through hard links, so delete before you write there."""
    def duplicate(source, destination):
        linked = "/.dvc/cache/" in source or source.startswith(str(template / "data") + os.sep)
        (os.link if linked else shutil.copy2)(source, destination)
    shutil.copytree(template, target, symlinks=True, copy_function=duplicate)
    return target


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every visible file below a folder with its bytes."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)}


def one_line(done, *words: str) -> str:
    """The one line with which a command failed; it holds the words, and no traceback goes with it."""
    assert done.returncode != 0, done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("prox-repro: ")]
    assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr[-3000:]
    for word in words:
        assert word in lines[0], lines[0]
    return lines[0]


def edit(path: Path, text: str | bytes) -> None:
    """Replace a file that may share its bytes with another checkout."""
    path.unlink(missing_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def make_stale(toys: Path, *slugs: str, pause: float = 0.05) -> None:
    for slug in slugs:
        path = toys / "params" / f"{slug}.yaml"
        edit(path, re.sub(r"pause: .*", f"pause: {pause}", path.read_text()).replace("value: 42", "value: 43"))


def wait_until(condition, seconds: float = 30.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")
