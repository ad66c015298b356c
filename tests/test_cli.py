"""The command line: one clear line for every mistake, quick start-up, a scaffold that runs as created."""
import json
import subprocess
import sys

import pytest
from conftest import ROOT, call

from prox_repro.core.project import papers


def one_line(done, *words):
    """A failed command says what is wrong on one line, with these words, and shows no traceback."""
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("prox-repro: "), done.stderr
    for word in words:
        assert word in lines[0], lines[0]


COMMANDS = ("list", "run", "repro", "verify", "claims", "student", "site", "data", "pipeline", "export", "new")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    done = subprocess.run(["prox-repro", command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "Usage" in done.stdout and "--help" in done.stdout


def test_importing_and_help_load_nothing_heavy():
    code = ("import sys, prox_repro, prox_repro.core.cli; "
            "print([m for m in ('torch', 'numpy', 'dvc', 'dask', 'papermill', 'pandas', 'matplotlib', 'nbdev') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_list_names_every_paper():
    done = call("prox-repro", "list", "--json", cwd=ROOT, check=True)
    assert [row["slug"] for row in json.loads(done.stdout)] == list(papers())


def test_an_unknown_paper_brings_the_nearest_names():
    one_line(call("prox-repro", "run", "sinkhorn_newtn", cwd=ROOT), "sinkhorn_newtn", "did you mean", "sinkhorn_newton")


def test_an_unknown_profile_names_the_known_ones():
    one_line(call("prox-repro", "run", "lpn", "--profile", "huge", cwd=ROOT), "huge", "full", "smoke", "paper")


def test_a_broken_parameter_file_names_file_and_line(checkout):
    (checkout / "params.yaml").write_text("profile: [full\nseed: 0\n")
    one_line(call("prox-repro", "run", "lpn", cwd=checkout), "params.yaml", "line")


def test_missing_data_names_the_command_that_gets_it(checkout):
    one_line(call("prox-repro", "data", "verify", cwd=checkout), "data/ missing", "prox-repro data pull")


def test_verify_without_results_says_how_to_get_them(checkout):
    import shutil
    shutil.rmtree(checkout / "results", ignore_errors=True)
    one_line(call("prox-repro", "verify", "lpn", cwd=checkout), "no committed results", "dvc repro lpn")


def test_claims_of_a_paper_hold_rule_value_and_verdict():
    rows = json.loads(call("prox-repro", "claims", "colide", "--json", cwd=ROOT, check=True).stdout)
    assert rows and all(row["paper"] == "colide" and row["rule"] and row["verdict"] for row in rows)


def test_a_claim_that_stops_holding_stops_the_ledger_and_changes_nothing(checkout):
    path = checkout / "results" / "colide" / "claims.json"
    record = json.loads(path.read_text())
    claim = next(c for c in record["claims"] if c["verdict"] == "reproduced")
    claim["verdict"], claim["measured"] = "not reproduced", 123456
    path.write_text(json.dumps(record))
    ledger = (checkout / "results" / "ledger.csv").read_bytes()
    one_line(call("prox-repro", "claims", "--write", cwd=checkout), f"colide {claim['id']}", "was reproduced",
             "is not reproduced", "123,456", "--accept")
    assert (checkout / "results" / "ledger.csv").read_bytes() == ledger
    call("prox-repro", "claims", "--accept", cwd=checkout, check=True)
    assert (checkout / "results" / "ledger.csv").read_bytes() != ledger


def test_changes_since_a_revision(checkout):
    """New claims, lost verdicts and moved values are told apart; a release keeps what the site compares with."""
    assert call("prox-repro", "claims", "--diff", "HEAD", cwd=checkout, check=True).stdout == "0 changes since HEAD\n"
    path = checkout / "results" / "colide" / "claims.json"
    record = json.loads(path.read_text())
    first, second, third = record["claims"][:3]
    first["verdict"], second["measured"], third["id"] = "inconclusive", 123456, "C-new"
    path.write_text(json.dumps(record))
    found = json.loads(call("prox-repro", "claims", "--diff", "HEAD", "--json", cwd=checkout, check=True).stdout)
    assert {(c["id"], c["kind"]) for c in found} == {
        (first["id"], "verdict"), (second["id"], "value"), ("C-new", "new"), (found[-1]["id"], "gone")}
    assert next(c["after"] for c in found if c["kind"] == "value") == "123,456"
    assert json.loads(call("prox-repro", "claims", "lpn", "--diff", "HEAD", "--json", cwd=checkout, check=True).stdout) == []
    call("prox-repro", "claims", "--release", "9.9", cwd=checkout, check=True)
    kept = json.loads((checkout / "results" / "release.json").read_text())
    assert kept["name"] == "9.9" and {"C-new"} < {c["id"] for c in kept["claims"]}
    one_line(call("prox-repro", "claims", "--release", " ", cwd=checkout), "name", "empty")


def test_verify_refuses_what_cannot_be_compared(smoke_checkout):
    one_line(call("prox-repro", "verify", "colide", "--profile", "full", cwd=smoke_checkout), "colide", "smoke", "full")
    one_line(call("prox-repro", "verify", "colide", "--instructions", "avx9", cwd=smoke_checkout), "avx9", "avx2", "native")


def test_verify_tells_identical_from_different(smoke_checkout, tmp_path):
    import shutil
    shutil.copytree(smoke_checkout / "results" / "colide", tmp_path / "colide")
    same = call("prox-repro", "verify", "colide", "--run", str(tmp_path), cwd=smoke_checkout, check=True)
    assert "colide: identical" in same.stdout
    table = sorted((tmp_path / "colide" / "tables").glob("*.csv"))[0]
    table.chmod(0o644)
    table.write_text(table.read_text() + "one,row,more\n")
    other = call("prox-repro", "verify", "colide", "--run", str(tmp_path), cwd=smoke_checkout)
    assert other.returncode == 1 and table.name in other.stdout


def test_a_new_paper_runs_as_created(checkout):
    call("prox-repro", "new", "toy_paper", "--chapter", "bilevel", "--title", "A toy", cwd=checkout, check=True)
    done = call("prox-repro", "run", "toy_paper", "--profile", "full", cwd=checkout, check=True)
    assert "1 of 1 claims reproduced" in done.stdout
    assert "toy_paper:" in (checkout / "dvc.yaml").read_text()
    assert (checkout / "prox_repro" / "bilevel" / "toy_paper.py").exists()
    assert call("prox-repro", "export", "--check", cwd=checkout).returncode == 0
    one_line(call("prox-repro", "new", "toy_paper", "-c", "bilevel", cwd=checkout), "already")
    one_line(call("prox-repro", "new", "Toy", "-c", "bilevel", cwd=checkout), "lower-case")
    one_line(call("prox-repro", "new", "toy2", "-c", "nowhere", cwd=checkout), "nowhere", "bilevel")


def test_export_check_finds_edits_by_hand_orphans_and_outputs(checkout):
    (checkout / "prox_repro" / "core" / "orphan.py").write_text("x = 1\n")
    path = checkout / "prox_repro" / "core" / "claims.py"
    path.write_text(path.read_text().replace("reproduced", "proved", 1))
    notebook = checkout / "nbs" / "core" / "style.ipynb"
    nb = json.loads(notebook.read_text())
    next(c for c in nb["cells"] if c["cell_type"] == "code")["execution_count"] = 5
    notebook.write_text(json.dumps(nb))
    (checkout / "README.md").write_text("other\n")
    done = call("prox-repro", "export", "--check", cwd=checkout)
    assert done.returncode == 1
    for word in ("orphan.py", "claims.py", "style.ipynb", "README.md"):
        assert word in done.stderr
