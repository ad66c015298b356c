"""Run the benchmarks and print one table: time of ours, time of each peer, the ratio, the target.

    python benchmarks/ratios.py            all
    python benchmarks/ratios.py lpn        only files whose name holds a word
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")}


def rows(benchmarks: list[dict]) -> list[tuple[str, ...]]:
    """A line per method, grouped, ours first; ratio = time of ours / time of the peer."""
    table = []
    for group in dict.fromkeys(b["group"] for b in benchmarks):
        members = [b for b in benchmarks if b["group"] == group]
        ours = [b for b in members if b["extra_info"].get("ours")]
        for b in ours + [b for b in members if b not in ours]:
            info, seconds = b["extra_info"], b["stats"]["median"]
            ratio, target, met = "", "", ""
            if "limit_s" in info:
                target, met = f"<= {info['limit_s']:g} s", "yes" if seconds <= info["limit_s"] else "NO"
            if not info.get("ours") and ours:
                value = ours[0]["stats"]["median"] / seconds
                ratio = f"{value:.3g}"
                if "target" in info:
                    target, met = f"<= {info['target']:g}", "yes" if value <= info["target"] else "NO"
            table.append((group, info.get("method", b["name"]), f"{seconds:.4g}", ratio, target, met))
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only benchmark files whose name holds one of these words")
    words = parser.parse_args().words
    files = [p for p in sorted(HERE.glob("bench_*.py")) if not words or any(w in p.stem for w in words)]
    if not files:
        print(f"no benchmark file matches {words}; there are {[p.stem for p in sorted(HERE.glob('bench_*.py'))]}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pytest", "-q", "-o", "python_files=bench_*.py", "-p", "no:cacheprovider",
                   "--benchmark-disable-gc", "--benchmark-quiet", f"--benchmark-json={report}", *map(str, files)]
        status = subprocess.run(command, env={**os.environ, **ONE_THREAD}, cwd=HERE).returncode
        if not report.exists() or not report.stat().st_size:
            print("no benchmark ran; `make bench` installs what they need", file=sys.stderr)
            return status or 1
        table = rows(json.loads(report.read_text())["benchmarks"])
    head = ("benchmark", "method", "median s", "ours / peer", "target", "met")
    widths = [max(len(row[i]) for row in [head, *table]) for i in range(len(head))]
    last = None
    for row in [head, *table]:
        shown = ("" if row[0] == last else row[0], *row[1:])
        last = row[0]
        print("  ".join(cell.ljust(width) for cell, width in zip(shown, widths)).rstrip())
    return status


if __name__ == "__main__":
    sys.exit(main())
