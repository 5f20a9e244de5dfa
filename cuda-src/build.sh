#!/usr/bin/env bash
# cuda-src/build.sh FOLDER: every kernel by NVIDIA's compilers, as a release has them and PROXIMAL_CUDA_KERNELS takes them:
#   NAME.cu             the source, and its headers beside it (a build takes only its own)
#   NAME.ptx            compute_80, with line numbers
#   NAME.sm_80.cubin    machine code, and NAME.sm_80.txt, what ptxas says of registers and spills; the same for sm_90a
# Of NAME_sm90.cu, which uses what compute capability 9.0 alone has, all is for sm_90a: PTX is compute_90a, and there is nothing for sm_80.
# What was made of these very files by this very compiler is kept. nvcc is that of CUDA_HOME, else toolchain.sh installs one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
out=$(mkdir -p "${1:?a folder to write to}" && cd "$1" && pwd)
home=${CUDA_HOME:-$(./toolchain.sh)}
nvcc=$home/bin/nvcc
[ -x "$nvcc" ] || { echo "build.sh: $nvcc is not there: CUDA_HOME names no CUDA toolkit" >&2; exit 1; }

one() {
    local name=$1 nvcc=$2 out=$3 flags=(-std=c++17 -O3 -lineinfo)
    local made_of ptx=80 archs=(80 90a)
    case $name in *_sm90) ptx=90a archs=(90a) ;; esac
    made_of=$(cat "$name.cu" ./*.cuh build.sh "$out/compiler" | sha256sum)
    if [ -f "$out/$name.cu" ] && [ "$(cat "$out/$name.made_of" 2>/dev/null)" = "$made_of" ]; then return; fi
    # Whoever stops this between two files leaves a folder that is not taken for whole.
    rm -f "$out/$name.cu"
    "$nvcc" "${flags[@]}" --ptx "-gencode=arch=compute_$ptx,code=compute_$ptx" "$name.cu" -o "$out/$name.ptx"
    for arch in "${archs[@]}"; do
        "$nvcc" "${flags[@]}" -cubin -Xptxas -v "-gencode=arch=compute_$arch,code=sm_$arch" "$name.cu" -o "$out/$name.sm_$arch.cubin" 2>"$out/$name.sm_$arch.txt" ||
            { cat "$out/$name.sm_$arch.txt" >&2; return 1; }
    done
    printf '%s' "$made_of" >"$out/$name.made_of"
    # Last: it says that the others are whole.
    cp "$name.cu" "$out/$name.cu"
}
export -f one
cp ./*.cuh "$out"
"$nvcc" --version >"$out/compiler"
printf '%s\n' *.cu | sed 's/\.cu$//' | xargs -P 2 -I{} bash -c 'set -euo pipefail; one "$@"' _ {} "$nvcc" "$out"
