#!/usr/bin/env bash
# Renew requirements.lock: resolve what settings.ini asks for in a new environment, and freeze it.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"${PYTHON:-python3}" - > "$folder/requirements.in" <<'PY'
from configparser import ConfigParser
parser = ConfigParser(delimiters=["="])
parser.read("settings.ini")
cfg = parser["DEFAULT"]
# torch is pinned to the release that a processor-only build was tried with
pins = {"torch": "torch==2.13.0"}
for key in ("requirements", "repro_requirements", "teach_requirements", "test_requirements"):
    for requirement in cfg[key].split():
        print(pins.get(requirement.split(">")[0].split("=")[0], requirement))
print("setuptools\nwheel")
PY
"$folder/venv/bin/pip" install --quiet --requirement "$folder/requirements.in"
# a local version such as 2.13.0+cpu is in no public index
"$folder/venv/bin/pip" freeze --all --exclude-editable | grep -v '^pip==' | sed 's/+cpu//' > requirements.lock
cp "$folder/requirements.in" "$folder/bench.in"
"${PYTHON:-python3}" - >> "$folder/bench.in" <<'PY'
from configparser import ConfigParser
parser = ConfigParser(delimiters=["="])
parser.read("settings.ini")
print("\n".join(parser["DEFAULT"]["bench_requirements"].split()))
PY
"$folder/venv/bin/pip" install --quiet --requirement "$folder/bench.in"
"$folder/venv/bin/pip" freeze --all --exclude-editable | grep -v '^pip==' | sed 's/+cpu//' \
  | grep -vxFf requirements.lock > requirements-bench.lock
echo "requirements.lock: $(wc -l < requirements.lock) packages; requirements-bench.lock: $(wc -l < requirements-bench.lock) more"
