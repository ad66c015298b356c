"""Student copies: no solution left, they run up to the first exercise, checks fail until solved; nbgrader end to end."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from conftest import ROOT, call
from prox_repro.core.project import papers
from prox_repro.core.student import STUB, student_copy, without_solution, write_assignment, write_student_copies

SLUGS = list(papers())


def code_cells(notebook) -> list:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def text(cell) -> str:
    return "".join(cell["source"])


def execute(notebook: dict, folder: Path, **env: str) -> dict:
    """Run a notebook from a folder with a kernel of its own; it stops at the first error, which is kept in its outputs."""
    from nbclient import NotebookClient
    nb = nbformat.reads(json.dumps(notebook), as_version=4)
    before = dict(os.environ)
    os.environ.update({"PROX_REPRO_PROFILE": "smoke", "MPLBACKEND": "agg", **env})
    try:
        NotebookClient(nb, timeout=120, kernel_name="python3", allow_errors=False,
                       resources={"metadata": {"path": str(folder)}}).execute()
    except Exception as error:
        assert type(error).__name__ == "CellExecutionError", error
    finally:
        os.environ.clear()
        os.environ.update(before)
    return nb


@pytest.mark.parametrize("slug", SLUGS)
def test_a_copy_has_no_solution_and_keeps_everything_else(slug):
    original = json.loads((ROOT / papers()[slug].notebook).read_text())
    made = student_copy(slug)
    assert made.n_exercises >= 2
    kept = [cell for cell in made.notebook["cells"] if cell["id"] != "for-you-to-do"]
    assert [cell["id"] for cell in kept] == [cell["id"] for cell in original["cells"]]
    for old, new in zip(original["cells"], kept):
        assert old["metadata"] == new["metadata"]
        if old["cell_type"] == "code" and "BEGIN SOLUTION" not in text(old):
            assert text(old) == text(new)
    everything = "".join(map(text, kept))
    assert "SOLUTION" not in everything and everything.count(STUB[0]) == made.n_exercises
    assert ".ipynb)" not in "".join(text(cell) for cell in kept if cell["cell_type"] == "markdown")


@pytest.mark.parametrize("slug", SLUGS)
def test_solutions_and_checks_come_in_pairs(slug):
    cells = [cell for cell in code_cells(json.loads((ROOT / papers()[slug].notebook).read_text()))]
    marked = [cell["metadata"].get("nbgrader", {}) for cell in cells]
    ids = [m["grade_id"] for m in marked if m]
    assert len(ids) == len(set(ids))
    for place, m in enumerate(marked):
        if m.get("solution"):
            assert marked[place + 1].get("grade") and marked[place + 1]["points"] > 0, m["grade_id"]
    exported = "".join(p.read_text() for p in (ROOT / "prox_repro").rglob("*.py") if "core" not in p.parts)
    assert "BEGIN SOLUTION" not in exported


@pytest.mark.parametrize("slug", SLUGS)
def test_a_copy_runs_up_to_its_first_exercise_from_any_folder(slug, tmp_path):
    made = student_copy(slug).notebook
    first = next(n for n, cell in enumerate(made["cells"]) if STUB[0] in text(cell) and cell["cell_type"] == "code")
    nb = execute({**made, "cells": made["cells"][:first + 2]}, tmp_path, PROX_REPRO_ROOT=str(ROOT))
    stub, check = nb.cells[first], nb.cells[first + 1]
    errors = [out for cell in nb.cells[:first + 1] for out in cell.get("outputs", []) if out["output_type"] == "error"]
    assert not errors, errors
    assert stub.execution_count is not None
    failed = [out for out in check.get("outputs", []) if out["output_type"] == "error"]
    assert failed and failed[0]["ename"] == "NotImplementedError", "the check of an unsolved exercise has to fail"
    assert not list(tmp_path.iterdir()), "opening a copy must not write beside it"


@pytest.mark.parametrize("folder", [".", "nbs/recovery", "nbs/guide"])
def test_a_notebook_finds_its_project_from_any_folder_of_the_checkout(folder):
    """No variable is set, as in JupyterLab: the first picture is drawn from the root, from its own folder, and from another."""
    made = student_copy("robust_subgradient").notebook
    last = next(n for n, cell in enumerate(made["cells"]) if "run.figure(" in text(cell))
    nb = execute({**made, "cells": made["cells"][:last + 1]}, ROOT / folder)
    assert not [out for cell in nb.cells for out in cell.get("outputs", []) if out["output_type"] == "error"]
    assert nb.cells[last].outputs


def test_stubs_are_nbgraders_own():
    """Ours equals what nbgrader's preprocessor makes of the same notebooks."""
    from nbgrader.preprocessors import ClearSolutions
    for slug in SLUGS:
        notebook = nbformat.read(ROOT / papers()[slug].notebook, as_version=4)
        theirs, _ = ClearSolutions(enforce_metadata=True).preprocess(notebook, {})
        ours = [cell for cell in student_copy(slug).notebook["cells"] if cell["id"] != "for-you-to-do"]
        for a, b in zip(theirs.cells, ours):
            if a.cell_type == "code":
                assert a.source == text(b)


@pytest.mark.parametrize("broken", ["### BEGIN SOLUTION\nx = 1", "x = 1\n### END SOLUTION",
                                    "### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION"])
def test_markers_without_a_partner_are_refused(broken):
    with pytest.raises(ValueError, match="^source"):
        without_solution(broken)


def test_a_students_work_is_never_replaced(tmp_path):
    (path, count), = write_student_copies(SLUGS[:1], tmp_path)
    path.write_text("my work")
    with pytest.raises(ValueError, match="--force"):
        write_student_copies(SLUGS[:2], tmp_path)
    assert path.read_text() == "my work" and len(list(tmp_path.iterdir())) == 1
    write_student_copies(SLUGS[:2], tmp_path, force=True)
    assert "cells" in json.loads(path.read_text())


def test_the_command_says_what_to_name():
    done = call("prox-repro", "student", "-o", "x", cwd=ROOT)
    assert done.returncode == 2 and "--all" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """An nbgrader course with one of our notebooks released, and the answers of two students."""
    pytest.importorskip("nbgrader")
    folder = tmp_path_factory.mktemp("course")
    slug = "robust_subgradient"
    write_assignment([slug], folder, "ps1")
    nbgrader(folder, "generate_assignment", "ps1")
    release = nbformat.read(folder / "release" / "ps1" / f"{slug}.ipynb", as_version=4)
    assert "BEGIN SOLUTION" not in "".join(cell.source for cell in release.cells)
    solutions = {cell.id: cell.source for cell in nbformat.read(ROOT / papers()[slug].notebook, as_version=4).cells}
    for student in ("right", "wrong"):
        answer = nbformat.read(folder / "release" / "ps1" / f"{slug}.ipynb", as_version=4)
        for cell in answer.cells:
            if cell.metadata.get("nbgrader", {}).get("solution"):
                cell.source = solutions[cell.id] if student == "right" else re.sub(
                    r"raise NotImplementedError\(\)", "return None", cell.source)
        place = folder / "submitted" / student / "ps1"
        place.mkdir(parents=True)
        nbformat.write(answer, place / f"{slug}.ipynb")
    return folder


def nbgrader(folder: Path, *command: str) -> None:
    done = subprocess.run([sys.executable, "-m", "nbgrader", *command], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PROX_REPRO_PROFILE": "smoke", "PROX_REPRO_ROOT": str(ROOT), "MPLBACKEND": "agg"})
    assert done.returncode == 0, done.stderr[-3000:]


def test_nbgrader_tells_right_from_wrong(course):
    nbgrader(course, "autograde", "ps1")
    nbgrader(course, "generate_feedback", "ps1")
    from nbgrader.api import Gradebook
    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        scores = {student: (found.score, found.max_score) for student in ("right", "wrong")
                  for found in [book.find_submission("ps1", student)]}
    assert scores["right"][0] == scores["right"][1] > 0
    assert scores["wrong"][0] == 0 and scores["wrong"][1] == scores["right"][1]
    for student in ("right", "wrong"):
        page = course / "feedback" / student / "ps1" / "robust_subgradient.html"
        assert "Score" in page.read_text()


def test_an_assignment_is_never_filled_twice(course):
    with pytest.raises(ValueError, match="already"):
        write_assignment(["robust_subgradient"], course, "ps1")
