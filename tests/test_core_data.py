"""Data sets: splits, hashes, and what happens when a file is edited, damaged or missing."""

import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from prox_repro.core import data
from prox_repro.core.project import root

TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
TRAIN, T10K = "mnist/train-images-idx3-ubyte.xz", "mnist/t10k-labels-idx1-ubyte.xz"

if not (root() / "data").is_dir():
    pytest.fail("data/ missing: run `prox-repro data pull`", pytrace=False)


def link_tree(source: Path, target: Path) -> None:
    "A copy that costs no space: hard links where the file system allows them."

    def link(a, b):
        try:
            os.link(a, b)
        except OSError:
            shutil.copy2(a, b)

    shutil.copytree(source, target, copy_function=link)


def replace(path: Path, content: bytes) -> None:
    "New content under the same name without touching the files linked to it."
    path.unlink()
    path.write_bytes(content)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    "A checkout with linked store and data, and an own DVC cache, that may be damaged."
    real, copy = root(), tmp_path / "checkout"
    copy.mkdir()
    for name in ("settings.ini", "data.dvc", ".dvcignore", "params.yaml"):
        shutil.copy2(real / name, copy)
    (copy / ".dvc").mkdir()
    shutil.copy2(real / ".dvc/config", copy / ".dvc")
    link_tree(real / "data", copy / "data")
    link_tree(real / "dvcstore", copy / "dvcstore")
    monkeypatch.setenv("PROX_REPRO_ROOT", str(copy))
    return copy


def stored(checkout: Path, name: str) -> Path:
    "The object of the store that holds data/`name`."
    md5 = hashlib.md5((root() / "data" / name).read_bytes()).hexdigest()
    return checkout / "dvcstore/files/md5" / md5[:2] / md5[2:]


# ---- content ----


@pytest.mark.parametrize("load", [data.mnist, data.fashion_mnist])
def test_image_sets(load):
    s = load()
    assert s.x_train.shape == (50_000, 28, 28) and s.x_val.shape == s.x_test.shape == (10_000, 28, 28)
    counts = [np.bincount(np.concatenate([s.y_train, s.y_val])).tolist(), np.bincount(s.y_test).tolist()]
    assert counts == ([TRAIN_COUNTS, TEST_COUNTS] if load is data.mnist else [[6000] * 10, [1000] * 10])
    for x, y in ((s.x_train, s.y_train), (s.x_val, s.y_val), (s.x_test, s.y_test)):
        assert x.dtype == np.uint8 and y.dtype == np.int64 and y.shape == x.shape[:1]
        assert x.min() == 0 and x.max() == 255 and not x.flags.writeable and not y.flags.writeable


@pytest.mark.parametrize("name, load", [("mnist", data.mnist), ("fashion_mnist", data.fashion_mnist)])
def test_splits_are_consecutive_rows_of_the_official_files(name, load):
    raw = lzma.decompress((root() / f"data/{name}/train-images-idx3-ubyte.xz").read_bytes())
    s = load()
    assert raw[16:] == s.x_train.tobytes() + s.x_val.tobytes()


def test_mnist_separates_classes():
    "Labels belong to their images: nearest class mean is right four times of five on unseen digits."
    s = data.mnist()
    x = s.x_train.reshape(len(s.x_train), -1).astype(np.float32)
    means = np.stack([x[s.y_train == c].mean(0) for c in range(10)])
    test = s.x_test.reshape(len(s.x_test), -1).astype(np.float32)
    distance = (means**2).sum(1) - 2 * test @ means.T
    assert (distance.argmin(1) == s.y_test).mean() > 0.8


def test_digits_are_a_permutation_of_the_library_set():
    from sklearn.datasets import load_digits

    s, (x, y) = data.digits(), load_digits(return_X_y=True)
    parts = [(s.x_train, s.y_train, 1200), (s.x_val, s.y_val, 300), (s.x_test, s.y_test, 297)]
    for images, labels, n in parts:
        assert images.shape == (n, 8, 8) and images.dtype == np.float64 and labels.shape == (n,)
        assert images.min() == 0 and images.max() == 1 and not images.flags.writeable
        assert np.bincount(labels, minlength=10).min() >= 0.07 * n
    rows = np.concatenate([np.c_[images.reshape(n, -1) * 16, labels] for images, labels, n in parts])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, np.c_[x, y]))


def test_photographs_are_split_by_scene():
    p = data.photographs()
    names = [*p.names_train, *p.names_val, *p.names_test]
    files = {path.stem for path in (root() / "data/photographs").glob("*.png")}
    assert len(names) == len(set(names)) == 30 and set(names) == files == set(p.credits)
    assert (
        [len(x) for x in (p.x_train, p.x_val, p.x_test)]
        == [len(p.names_train), len(p.names_val), len(p.names_test)]
        == [18, 5, 7]
    )
    for x in (p.x_train, p.x_val, p.x_test):
        assert (
            x.shape[1:] == (256, 256, 3)
            and x.dtype == np.float64
            and 0 <= x.min() < x.max() <= 1
            and not x.flags.writeable
        )
    flat = np.concatenate([p.x_train, p.x_val, p.x_test]).reshape(30, -1)
    flat = (flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True)
    assert (flat @ flat.T / flat.shape[1] - np.eye(30)).max() < 0.95  # no scene twice


def test_photographs_by_name_and_size():
    small, gray = data.photographs(64), data.photographs(64, gray=True)
    for name in ("coffee", "rocket", "dune"):
        full = data.photographs()[name]
        blocks = full.reshape(64, 4, 64, 4, 3).mean((1, 3))
        np.testing.assert_allclose(small[name], blocks, atol=1e-14)
        np.testing.assert_allclose(gray[name], blocks @ [0.2125, 0.7154, 0.0721], atol=1e-14)
    with pytest.raises(ValueError, match="coffee"):
        small["cofee"]
    for bad in (0, 7, 257, 64.0, "64"):
        with pytest.raises(ValueError, match="^size: "):
            data.photographs(bad)


@pytest.mark.parametrize("n, size", [(6, 4), (256, 96), (9, 9), (7, 1)])
def test_area_average_keeps_mean_and_constants(n, size):
    x = np.random.default_rng(n).integers(0, 256, (n, n, 2))
    y = data.area_average(x, size)
    np.testing.assert_allclose(y.mean((0, 1)), x.mean((0, 1)), rtol=1e-13)
    assert y.shape == (size, size, 2) and np.array_equal(
        data.area_average(np.full((n, n), 7), size), np.full((size, size), 7.0)
    )


def test_area_average_refuses_enlarging_and_oblongs():
    for x, size in ((np.zeros((4, 4)), 5), (np.zeros((4, 5)), 4), (np.zeros((4, 4)), 0)):
        with pytest.raises(ValueError, match="^size: "):
            data.area_average(x, size)


def test_sachs():
    t = data.sachs()
    assert t.x.shape == (853, 11) and t.x.dtype == np.float64 and (t.x > 0).all() and not t.x.flags.writeable
    assert len(t.names) == 11 and len(set(t.edges)) == 18 and t.adjacency.sum() == 18
    assert {(t.names[i], t.names[j]) for i, j in zip(*np.nonzero(t.adjacency))} == set(t.edges)
    import networkx as nx

    [cycle] = nx.simple_cycles(nx.DiGraph(t.edges))  # as the card says
    assert set(cycle) == {"PIP2", "PIP3", "plcg"}
    assert ("praf", "pmek") in t.edges and data.sachs(7466).x.shape == (7466, 11)
    np.testing.assert_array_equal(data.sachs(10).x, t.x[:10])
    for bad in (0, 7467, 1.5):
        with pytest.raises(ValueError, match="^n: "):
            data.sachs(bad)


# ---- hashes ----


def test_every_file_matches_manifest_and_card():
    manifest = json.loads((root() / "data/MANIFEST.json").read_text())
    files = {p.relative_to(root() / "data").as_posix() for p in (root() / "data").rglob("*") if p.is_file()}
    assert files == {*manifest, "MANIFEST.json"}
    for name, entry in manifest.items():
        path = root() / "data" / name
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert (path.stat().st_size, digest) == (entry["bytes"], entry["sha256"]), name
        assert path.name == "README.md" or digest in (path.parent / "README.md").read_text(), name


def test_data_stay_within_the_size_of_a_clone():
    assert sum(p.stat().st_size for p in (root() / "dvcstore").rglob("*") if p.is_file()) < 45e6


def test_complete_copy_verifies(checkout):
    assert data.verify_data() == []
    status = data.data_status()
    assert (
        status.state == "complete"
        and set(status.sets) == {"mnist", "fashion_mnist", "photographs", "sachs"}
        and not status.problems
    )
    assert data.fetch_data() == ""


def test_sources_name_the_folders_of_the_loaders():
    for name, folder in data.SOURCES.items():
        assert callable(getattr(data, name)) and (folder is None or (root() / folder / "README.md").is_file())


# ---- faults ----


@pytest.mark.parametrize(
    "name, load",
    [
        (T10K, data.mnist),
        ("photographs/dune.png", data.photographs),
        ("photographs/index.json", data.photographs),
        ("sachs/cyto_full_data.csv", data.sachs),
    ],
)
def test_edited_byte_is_refused_by_name(checkout, name, load):
    raw = bytearray((checkout / "data" / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    replace(checkout / "data" / name, bytes(raw))
    with pytest.raises(data.DataError, match=f"data/{re.escape(name)} is not the committed file"):
        load()
    [problem] = data.verify_data()
    assert name in problem and "--force" in problem
    with pytest.raises(data.DataError, match=re.escape(name)):  # a pull does not overwrite it unasked
        data.fetch_data()
    assert (checkout / "data" / name).read_bytes() == bytes(raw)


def test_edited_manifest_does_not_hide_an_edited_file(checkout):
    path = checkout / "data/sachs/cyto_full_target.csv"
    replace(path, path.read_bytes().replace(b"PIP2", b"PIP3"))
    manifest = json.loads((checkout / "data/MANIFEST.json").read_text())
    manifest["sachs/cyto_full_target.csv"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    replace(checkout / "data/MANIFEST.json", json.dumps(manifest).encode())
    problems = data.verify_data()
    assert len(problems) == 2 and "MANIFEST.json" in problems[0] and "cyto_full_target.csv" in problems[1]


def test_adopted_edit_is_still_refused(checkout):
    "`dvc repro` adopts an edited file with a new listing and a new data.dvc; the manifest still names the old file."
    path = checkout / "data/sachs/cyto_full_target.csv"
    old = hashlib.md5(path.read_bytes()).hexdigest()
    replace(path, path.read_bytes() + b'"PKC","PKA"\n')
    pointer = (checkout / "data.dvc").read_text()
    md5 = re.search(r"([0-9a-f]{32})\.dir", pointer)[1]
    listing = (
        (checkout / f"dvcstore/files/md5/{md5[:2]}/{md5[2:]}.dir")
        .read_text()
        .replace(old, hashlib.md5(path.read_bytes()).hexdigest())
    )
    new = hashlib.md5(listing.encode()).hexdigest()
    (checkout / f".dvc/cache/files/md5/{new[:2]}").mkdir(parents=True)
    (checkout / f".dvc/cache/files/md5/{new[:2]}/{new[2:]}.dir").write_text(listing)
    replace(checkout / "data.dvc", pointer.replace(md5, new).encode())
    [problem] = data.verify_data()
    assert "cyto_full_target.csv" in problem


def test_missing_extra_and_broken_files_are_named(checkout):
    (checkout / "data/photographs/dune.png").unlink()
    (checkout / "data/photographs/mine.png").write_bytes(b"x")
    problems = data.verify_data()
    assert len(problems) == 2 and "dune.png missing" in problems[0] and "mine.png is no part" in problems[1]
    with pytest.raises(data.DataError, match="dune.png missing: run `prox-repro data pull`"):
        data.photographs()
    replace(checkout / "data/MANIFEST.json", b"{")
    with pytest.raises(data.DataError, match="MANIFEST.json is damaged"):
        data.sachs()
    assert any("MANIFEST.json" in problem for problem in data.verify_data())


def test_missing_folder_names_the_command(checkout):
    shutil.rmtree(checkout / "data")
    for load in (data.mnist, data.photographs, data.sachs):
        with pytest.raises(data.DataError, match="^data/ missing: run `prox-repro data pull`$"):
            load()
    assert data.verify_data() == ["data/ missing: run `prox-repro data pull`"] and data.data_status().state == "missing"
    assert data.digits().x_train.shape == (1200, 8, 8)


@pytest.mark.parametrize("fault", ["truncated", "missing"])
def test_damaged_store_object_is_named(checkout, fault):
    path = stored(checkout, TRAIN)
    shutil.rmtree(checkout / "data")
    replace(path, path.read_bytes()[:1000]) if fault == "truncated" else path.unlink()
    with pytest.raises(data.DataError) as error:
        data.fetch_data()
    message = str(error.value)
    assert (
        path.relative_to(checkout).as_posix() in message and TRAIN in message and "git checkout -- dvcstore" in message
    )
    assert "\n" not in message and not (checkout / "data").exists()


def test_damaged_listing_and_pointer_are_named(checkout):
    [listing] = (checkout / "dvcstore").rglob("*.dir")
    replace(listing, listing.read_bytes()[:-5])
    assert "listing that data.dvc names" in data.verify_data()[0]
    shutil.rmtree(checkout / "data")
    with pytest.raises(data.DataError, match=re.escape(listing.name)):
        data.fetch_data()
    for broken in (b"outs: [", b"outs: []\n", b"- 1\n"):
        replace(checkout / "data.dvc", broken)
        assert "data.dvc" in data.verify_data()[0] and "\n" not in data.verify_data()[0]
    (checkout / "data.dvc").unlink()
    assert data.verify_data() == ["data.dvc missing: restore it with `git checkout data.dvc`"]


def test_full_disk_is_refused_before_anything_is_written(checkout, monkeypatch):
    shutil.rmtree(checkout / "data")
    monkeypatch.setattr(data.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(data.DataError, match=r"^data/ needs 4\d MB, 1 MB free"):
        data.fetch_data()
    assert not (checkout / "data").exists()


def test_fetch_restores_everything_and_heals_a_bad_cache(checkout):
    "A real pull from the store; then a file is edited in place, which a hard link carries into DVC's cache."
    subprocess.run(["git", "init", "-q"], cwd=checkout, check=True)
    shutil.rmtree(checkout / "data")
    assert "pulled and verified" in data.fetch_data() and data.verify_data() == []
    path = checkout / "data/sachs/cyto_full_target.csv"
    good, times = path.read_bytes(), path.stat()
    path.chmod(0o644)
    path.write_bytes(good.replace(b"PKA", b"PKB"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    (checkout / "data/mine.csv").write_bytes(b"x")
    with pytest.raises(data.DataError, match="mine.csv is no part .* 1 more"):
        data.fetch_data()
    assert "pulled" in data.fetch_data(force=True) and data.verify_data() == []
    assert path.read_bytes() == good and not (checkout / "data/mine.csv").exists()
    (checkout / "data/photographs/dune.png").unlink()
    assert "pulled" in data.fetch_data() and data.verify_data() == []


def test_rebuild_script_explains_itself():
    done = subprocess.run([sys.executable, root() / "tools/rebuild_data.py", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--packages" in done.stdout
    done = subprocess.run(
        [sys.executable, root() / "tools/rebuild_data.py", "--out", root() / "tests"], capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "exists: name a new folder" in done.stderr
