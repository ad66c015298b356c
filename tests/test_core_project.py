"""Root, papers, parameters: found, merged, and refused with one clear line."""
import json

import pytest

from prox_repro.core import project

PARAMS = "full: {n: 500, tol: 1e-10, train: {steps: 100, lr: 0.1}}\nsmoke: {n: 64, train: {steps: 2}}\npaper: {}\n"


def notebook(title: str, export: str, tags=("parameters",)) -> str:
    cells = [{"cell_type": "markdown", "metadata": {}, "source": [f"# {title}\n", "\n", f"> About {title}."]},
             {"cell_type": "code", "metadata": {}, "source": f"#| default_exp {export}"},
             {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": 'profile = "full"'}]
    return json.dumps({"cells": cells})


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    "An empty checkout with one paper."
    (tmp_path / "settings.ini").write_text("[DEFAULT]\nlib_name = prox-repro\n")
    (tmp_path / "params.yaml").write_text("profile: smoke\nseed: 3\n")
    for folder in ("params", "nbs/transport", "nbs/inverse"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "params/sinkhorn.yaml").write_text(PARAMS)
    (tmp_path / "nbs/transport/sinkhorn.ipynb").write_text(notebook("Sinkhorn", "transport.sinkhorn"))
    monkeypatch.setenv("PROX_REPRO_ROOT", str(tmp_path))
    return tmp_path


def test_root_by_variable_place_and_folder(checkout, monkeypatch, tmp_path_factory):
    assert project.root() == checkout.resolve()
    other = tmp_path_factory.mktemp("other")
    (other / "settings.ini").write_text("[DEFAULT]\nlib_name = somebody-else\n")
    monkeypatch.setenv("PROX_REPRO_ROOT", str(other))
    with pytest.raises(FileNotFoundError, match="^PROX_REPRO_ROOT=.* is not a prox-repro checkout"):
        project.root()
    monkeypatch.delenv("PROX_REPRO_ROOT")
    monkeypatch.chdir(other)
    assert (project.root() / "nbs").is_dir() and project.root() != other      # the installed package's checkout
    import prox_repro
    monkeypatch.setattr(prox_repro, "__file__", str(other / "prox_repro/__init__.py"))
    with pytest.raises(FileNotFoundError, match="set PROX_REPRO_ROOT"):
        project.root()
    monkeypatch.chdir(checkout / "nbs/transport")
    assert project.root() == checkout


def test_papers_come_in_reading_order(checkout):
    (checkout / "nbs/inverse/zeta.ipynb").write_text(notebook("Zeta", "inverse.zeta"))
    (checkout / "nbs/inverse/alpha.ipynb").write_text(notebook("Alpha", "inverse.alpha"))
    (checkout / "nbs/inverse/index.ipynb").write_text(notebook("Chapter", "inverse.index", tags=()))
    (checkout / "nbs/inverse/copy.ipynb").write_text(notebook("Copy", "inverse.alpha"))
    found = project.papers()
    assert list(found) == ["alpha", "zeta", "sinkhorn"]
    assert found["sinkhorn"] == project.PaperInfo("sinkhorn", "transport", "nbs/transport/sinkhorn.ipynb",
                                                  "prox_repro.transport.sinkhorn", "Sinkhorn", "About Sinkhorn.")
    assert project.require_paper("zeta") == found["zeta"]
    for slug, hint in (("sinkhron", "did you mean sinkhorn?"), ("qqq", "prox-repro list")):
        with pytest.raises(ValueError, match=hint):
            project.require_paper(slug)


def test_papers_refuse_double_slugs_and_broken_notebooks(checkout):
    path = checkout / "nbs/inverse/sinkhorn.ipynb"
    path.write_text(notebook("Again", "inverse.sinkhorn"))
    with pytest.raises(ValueError, match="sinkhorn is in two chapters, inverse and transport"):
        project.papers()
    for broken in ("{", "[]", "{}"):
        path.write_text(broken)
        with pytest.raises(ValueError, match="sinkhorn.ipynb in nbs/inverse/ is not a notebook"):
            project.papers()


def test_papers_of_the_suite_import_by_name():
    for paper in project.papers().values():
        assert (project.root() / paper.notebook).is_file() and paper.summary and "$" not in paper.summary
        assert (project.root() / (paper.module.replace(".", "/") + ".py")).is_file()
        for profile in project.PROFILES:
            assert project.read_params(paper.slug, profile)


def test_params_merge_by_profile(checkout):
    full = {"n": 500, "tol": 1e-10, "train": {"steps": 100, "lr": 0.1}}
    assert project.read_params("sinkhorn", "full") == project.read_params("sinkhorn", "paper") == full
    assert project.read_params("sinkhorn", "smoke") == {"n": 64, "tol": 1e-10, "train": {"steps": 2, "lr": 0.1}}
    assert isinstance(project.read_params("sinkhorn", "full")["tol"], float)
    assert project.global_params() == {"profile": "smoke", "seed": 3}


@pytest.mark.parametrize("text, message", [
    ("full: {n: 1}\nsmoke: {}\n", "block paper missing"),
    ("full: {n: 1}\nsmoke: {m: 2}\npaper: {}\n", "block smoke: m not in block full, which has n"),
    ("full: {a: {b: 1}}\nsmoke: {}\npaper: {a: {c: 2}}\n", "block paper.a: c not in"),
    ("full: {n: 1}\nsmoke: {}\npaper: {}\nfast: {}\n", "unknown block fast, accepted are full, smoke, paper"),
    ("full: [1]\nsmoke: {}\npaper: {}\n", "block full must map"),
    ("full: {n: 1\nsmoke: {}\n", "line 2: not valid YAML"),
    ("full: {n: 1, n: 2}\nsmoke: {}\npaper: {}\n", "not valid YAML"),
    ("", "a mapping of names to values"),
])
def test_params_refuse_what_is_wrong(checkout, text, message):
    (checkout / "params/sinkhorn.yaml").write_text(text)
    with pytest.raises(ValueError) as error:
        project.read_params("sinkhorn", "full")
    assert message in str(error.value) and "params/sinkhorn.yaml" in str(error.value) and "\n" not in str(error.value)


def test_params_name_what_is_accepted(checkout):
    with pytest.raises(ValueError, match="profile 'fast' unknown: choose one of full, smoke, paper"):
        project.read_params("sinkhorn", "fast")
    with pytest.raises(ValueError, match="did you mean sinkhorn?"):
        project.read_params("sinkhron", "full")
    for text, word in (("profile: fast\nseed: 0\n", "profile"), ("profile: full\nseed: -1\n", "seed"),
                       ("profile: full\nseed: 0.5\n", "seed"), ("profile: full\nseed: true\n", "seed")):
        (checkout / "params.yaml").write_text(text)
        with pytest.raises(ValueError, match=f"^params.yaml: {word} must be"):
            project.global_params()
    (checkout / "params.yaml").unlink()
    with pytest.raises(ValueError, match="params.yaml missing"):
        project.global_params()


def test_nearest_ignores_case():
    assert project.nearest("Colide", ["colide", "lpn"]) == ["colide"] and project.nearest("LPN", ["lpn", "cue"]) == ["lpn"]
