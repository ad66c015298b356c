"""The harness and the rules: verdicts as the text says, bad use refused, same bytes on every run."""
import json
import math
import os

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prox_repro.core.claims import judge, parse_rule, round_significant
from prox_repro.core.run import Run

numbers = st.floats(-1e6, 1e6)


@pytest.fixture()
def toy(tmp_path, monkeypatch):
    """A checkout with one parameter file."""
    (tmp_path / "params").mkdir()
    (tmp_path / "settings.ini").write_text("[DEFAULT]\nlib_name = prox-repro\n")
    (tmp_path / "params.yaml").write_text("profile: full\nseed: 3\n")
    (tmp_path / "params" / "toy.yaml").write_text("full: {n: 5}\nsmoke: {n: 2}\npaper: {}\n")
    monkeypatch.setenv("PROX_REPRO_ROOT", str(tmp_path))
    monkeypatch.setenv("PROX_REPRO_OUT", str(tmp_path / "out"))
    monkeypatch.delenv("PROX_REPRO_PROFILE", raising=False)
    monkeypatch.delenv("IN_TEST", raising=False)
    return tmp_path


@given(st.lists(numbers, min_size=1, max_size=9), numbers)
def test_each_is_all_and_median_is_never_stricter(values, threshold):
    each = judge(f"each >= {threshold!r}", values)
    assert (each == "reproduced") == all(v >= threshold for v in values)
    median = judge(f"median >= {threshold!r}", values)
    assert (median == "reproduced") == (each == "reproduced")
    assert (median == "not reproduced") == all(v < threshold for v in values)


@given(st.lists(numbers, min_size=2, max_size=9), numbers)
def test_mean_is_inconclusive_exactly_when_its_interval_reaches_over_the_threshold(values, threshold):
    mean = math.fsum(values) / len(values)
    spread = 2 * math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))
    if min(abs(mean - spread - threshold), abs(mean + spread - threshold)) < 1e-6 * (1 + abs(threshold)):
        return
    verdict = judge(f"mean > {threshold!r}", values)
    assert (verdict == "inconclusive") == (mean - spread < threshold < mean + spread)


@given(st.lists(st.booleans(), min_size=1, max_size=5))
def test_holds_means_all(values):
    assert judge("holds", values) == ("reproduced" if all(values) else "not reproduced")


def test_parts_combine_to_the_worst():
    rule = "a: each > 0; b: median > 0"
    assert judge(rule, {"a": 1, "b": [1, 2]}) == "reproduced"
    assert judge(rule, {"a": 1, "b": [-1, 2]}) == "inconclusive"
    assert judge(rule, {"a": -1, "b": [-1, 2]}) == "not reproduced"


@pytest.mark.parametrize("rule", ["", "big", ">= ", "each >= x", "most >= 1", ">= 1; holds", "1 <= x"])
def test_a_rule_that_cannot_be_read_is_refused(rule):
    with pytest.raises(ValueError, match="rule"):
        parse_rule(rule)


@pytest.mark.parametrize("rule, measured", [("a: > 1", 3), ("> 1", {"a": 3}), ("> 1", [])])
def test_values_must_fit_the_rule(rule, measured):
    with pytest.raises(ValueError, match="measured"):
        judge(rule, measured)


@given(st.floats(1e-8, 1e8))
def test_rounding_keeps_four_digits(value):
    assert abs(round_significant(value) - value) <= 5.0001e-4 * value


def test_a_run_reads_parameters_and_names_unknown_ones(toy):
    run = Run("toy", "full")
    assert run.params.n == run.params["n"] == 5 and run.seed == 3 and not run.smoke
    with pytest.raises(AttributeError, match="no parameter 'm'.*n"):
        _ = run.params.m
    assert Run("toy", "smoke").params.n == 2
    with pytest.raises(ValueError, match="profile"):
        Run("toy", "huge")


def test_the_environment_chooses_the_profile(toy, monkeypatch):
    monkeypatch.setenv("PROX_REPRO_PROFILE", "smoke")
    assert Run("toy", "full").smoke
    monkeypatch.delenv("PROX_REPRO_PROFILE")
    monkeypatch.setenv("IN_TEST", "1")
    assert Run("toy", "full").smoke


def test_by_hand_a_run_writes_to_a_scratch_folder(toy, monkeypatch):
    monkeypatch.delenv("PROX_REPRO_OUT")
    assert Run("toy", "full").folder == toy / "runs" / "by-hand" / "toy"
    assert not (toy / "results").exists()


def test_claims_cannot_get_lost_or_be_judged_twice(toy):
    run = Run("toy", "full")
    run.claim("C1", "s", where="w", paper="p", rule=">= 1")
    with pytest.raises(ValueError, match="twice"):
        run.claim("C1", "s", where="w", paper="p", rule=">= 1")
    with pytest.raises(ValueError, match="not declared"):
        run.judge("C2", 1)
    with pytest.raises(RuntimeError, match="never judged: C1"):
        run.finish()
    run.judge("C1", 0.5)
    with pytest.raises(ValueError, match="already"):
        run.judge("C1", 2)
    run.finish()
    record = json.loads((toy / "out" / "claims.json").read_text())
    assert [(c["id"], c["verdict"], c["measured"]) for c in record["claims"]] == [("C1", "not reproduced", 0.5)]


def test_a_smoke_run_judges_nothing(toy):
    run = Run("toy", "smoke")
    run.claim("C1", "s", where="w", paper="p", rule=">= 1")
    run.judge("C1", 0.5)
    run.finish()
    assert json.loads((toy / "out" / "verdicts.json").read_text()) == {
        "reproduced": 0, "not reproduced": 0, "inconclusive": 0, "not judged": 1}


def test_tables_print_fixed_digits(toy):
    run = Run("toy", "full")
    frame = pd.DataFrame({"n": [1, 2], "error": [0.123456789, float("nan")], "ok": [True, False]})
    run.table(frame, "t", "caption", digits={"error": "{:.1e}"})
    assert (toy / "out" / "tables" / "t.csv").read_text() == "n,error,ok\n1,1.2e-01,yes\n2,–,no\n"
    with pytest.raises(ValueError, match="digits"):
        run.table(frame, "u", "caption", digits={"x": "{}"})
    with pytest.raises(ValueError, match="already"):
        run.table(frame, "t", "caption")
    with pytest.raises(ValueError, match="plain file name"):
        run.table(frame, "../t", "caption")


def test_figures_are_the_same_bytes_each_time(toy):
    import numpy as np

    from prox_repro.core.style import subplots
    files = []
    for _ in range(2):
        run = Run("toy", "full")
        fig, axes = subplots(1, 2)
        axes[0].plot(np.arange(50), np.sin(np.arange(50)), label="$\\lambda$")
        axes[0].legend()
        axes[1].imshow(np.arange(16).reshape(4, 4))
        run.figure(fig, "f", "caption <&>")
        files.append((toy / "out" / "figures" / "f.svg").read_bytes())
    assert files[0] == files[1] and b"<dc:date>" not in files[0]


def test_seeds_are_those_of_the_parameters(toy):
    import numpy as np
    Run("toy", "full")
    first = np.random.rand()
    Run("toy", "full")
    assert np.random.rand() == first
    assert os.environ["PROX_REPRO_ROOT"] == str(toy)
