#!/usr/bin/env bash
# Checks on an NVIDIA GPU that vt answers as on the CPU, and measures the speed of the whole 7B.
#
#     benchmarks/gpu/run.sh [WHEELS]
#
# python3 must have torch with CUDA, transformers and torchvision. The other packages are installed from the folder
# WHEELS, or from the package index if none is given. To fill the folder on another machine:
# `pip download -d WHEELS av psutil typer rich platformdirs accelerate`.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${VENV:-build/gpu-venv}
python3 -m venv --system-site-packages "$venv"
"$venv/bin/pip" install --quiet ${1:+--no-index --find-links "$1"} av psutil typer rich platformdirs accelerate
"$venv/bin/pip" install --quiet --no-deps --no-build-isolation ${1:+--no-index --find-links "$1"} -e . ||
    { echo "$PWD" >"$("$venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')/vtcli.pth"; }
python=$venv/bin/python
"$python" -m vtcli doctor
echo "== tiny: the same answer on both devices"
for device in cpu cuda; do
    "$python" -m vtcli demo --yes --color never --device "$device" 2>/dev/null
done
echo "== tiny: the same answer however its steps are run"
for compile in off auto on; do
    "$python" -m vtcli ask vt-demo.mp4 "Why did the red circle leave?" -m tiny --device cuda --compile "$compile" -q
done
echo "== the 7B's shape, 28 layers and 32 blocks"
missed=0
for compile in auto on; do
    echo "-- --compile $compile"
    "$python" benchmarks/ask.py --layers 28 --blocks 32 --frames 16 64 --compile "$compile" || missed=1
done
exit $missed
