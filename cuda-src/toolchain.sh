#!/usr/bin/env bash
# NVIDIA's compilers of CUDA 13.0 without a GPU, a driver or root: pinned wheels by package name, unpacked once into a cache outside the
# checkout (PROXIMAL_CUDA_TOOLCHAIN, or proximal/cuda-13.0 in the user's cache folder; 494 MB). Prints the folder: a CUDA_HOME.
# 13.0 is what driver 580 takes: a driver compiles PTX of its own version or older only.
set -euo pipefail

folder=${PROXIMAL_CUDA_TOOLCHAIN:-${XDG_CACHE_HOME:-$HOME/.cache}/proximal/cuda-13.0}
packages=(nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96
    nvidia-cuda-cccl==13.0.85 nvidia-cuda-nvrtc==13.0.88 nvidia-cuda-cuobjdump==13.2.78 nvidia-cuda-nvdisasm==13.2.78)

if [ "$(cat "$folder/packages" 2>/dev/null)" != "${packages[*]}" ]; then
    python3 -m pip --version >/dev/null 2>&1 || { echo "toolchain.sh: python3 with pip is needed to install NVIDIA's compilers" >&2; exit 1; }
    mkdir -p "$(dirname "$folder")"
    part=$(mktemp -d "$folder.XXXXXX")
    trap 'rm -rf "$part"' EXIT
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --target "$part" "${packages[@]}" >&2
    printf '%s' "${packages[*]}" >"$part/packages"
    rm -rf "$folder"
    mv "$part" "$folder"
fi
echo "$folder/nvidia/cu13"
