#!/usr/bin/env bash
# eval "$(tests/cuda-env.sh)": builds the emulated driver and the kernels (NVIDIA's compilers are installed if need be), and prints the
# environment in which every command of this project runs on the emulated device:
#
#     eval "$(tests/cuda-env.sh)"
#     target/release/proximal verify tests/golden/cases/qwen2-tied --device cuda
#
# On a machine with a GPU it is not needed: there the real driver is found, and the kernels are compiled by the CUDA toolkit's nvcc or NVRTC.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
target=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")

home=$(cuda-src/toolchain.sh)
CUDA_HOME=$home cuda-src/build.sh "$target/cuda-kernels" >&2
# For this machine's own processor, whose vectors the lanes are computed in. A folder of its own: other flags, other objects.
RUSTFLAGS="-C target-cpu=native" cargo build --quiet --release -p cuda-emulator --target-dir "$target/cuda-emulator" >&2
library=$target/cuda-emulator/driver
mkdir -p "$library"
ln -sf ../release/libcuda_emulator.so "$library/libcuda.so"

# The toolkit's own libraries follow: NVRTC.
printf 'export CUDA_HOME=%q\n' "$home"
# For the emulator's own tests: they compile planted bugs, and have the assembler accept what they wrote by hand.
printf 'export NVCC=%q PTXAS=%q\n' "$home/bin/nvcc" "$home/bin/ptxas"
# What needs a driver fails without one, instead of passing with a word of it.
printf 'export PROXIMAL_CUDA_REQUIRED=1\n'
# For the tests of the machine code.
printf 'export PROXIMAL_CUDA_BUILT=%q\n' "$target/cuda-kernels"
printf 'export PROXIMAL_CUDA_CACHE=%q\n' "$target/cuda-cache"
printf 'export CUDA_EMULATOR_PTXAS=%q\n' "$home/bin/ptxas"
printf 'export LD_LIBRARY_PATH=%q\n' "$library:$home/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
