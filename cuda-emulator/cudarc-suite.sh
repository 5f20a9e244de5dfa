#!/usr/bin/env bash
# cudarc's own tests and examples against the emulated driver: a check from outside. Compares with cudarc-suite.txt and fails on a difference.
#
#   cudarc-suite.sh NVRTC_DIR [DIR]     NVRTC_DIR holds libnvrtc.so.13; DIR (default target/cudarc-suite) takes the copy and its builds
#
# The source is that of the workspace's own dependency, as cargo unpacked it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -ge 1 ] || { sed -n '4p' "${BASH_SOURCE[0]}"; exit 2; }
nvrtc=$(cd "$1" && pwd)
ls "$nvrtc"/libnvrtc.so* >/dev/null
cd "$here/.."
mkdir -p "${2:-target/cudarc-suite}"
work=$(cd "${2:-target/cudarc-suite}" && pwd)
version=0.19.10

# The driver, as fast as this machine can run it.
RUSTFLAGS="-C target-cpu=native" cargo build --release -p cuda-emulator --target-dir "$work/driver"
mkdir -p "$work/lib"
ln -sf "$work/driver/release/libcuda_emulator.so" "$work/lib/libcuda.so"

manifest=$(cargo metadata --format-version 1 | grep -o "\"manifest_path\":\"[^\"]*/cudarc-$version/Cargo.toml\"" | cut -d'"' -f4)
rm -rf "$work/source"
cp -r "$(dirname "$manifest")" "$work/source"
chmod -R u+w "$work/source"
cd "$work/source"
# Not a member of the workspace it may lie in.
printf '\n[workspace]\n' >>Cargo.toml

features=(--no-default-features --features "std,driver,nvrtc,dynamic-loading,cuda-13000,f16")
# Without those that need other libraries: 08-cupti, cufile-copy.
examples=(01-allocate 02-copy 03-launch-kernel 04-streams 05-device-repr 06-threading 09-constant-memory 10-function-attributes
    12-context-config 13-copy-multi-gpu matmul-kernel nvrtc-compile)
cargo test --no-run --lib "${features[@]}" --target-dir "$work/target" 2>"$work/build.log" || { cat "$work/build.log"; exit 1; }
tests=$(sed -n 's/.*Executable unittests src\/lib.rs (\(.*\))/\1/p' "$work/build.log")
cargo build "${examples[@]/#/--example=}" "${features[@]}" --target-dir "$work/target"

export LD_LIBRARY_PATH="$work/lib:$nvrtc"
: >"$work/found"
# run ARGUMENTS…: results of the test program, one "NAME RESULT" a line. What the emulator says is kept in emulator.log.
run() {
    { "$tests" --test-threads=2 "$@" 2>>"$work/emulator.log" || true; } >"$work/out"
    sed -n 's/^test \([^ ]*\).* \.\.\. \(ok\|FAILED\|ignored\).*/\1 \2/p' "$work/out" >>"$work/found"
}
: >"$work/emulator.log"
# These run a million steps in each of 1024 threads, which all write one result: a race by the emulator's rules, without harm since
# the results are equal.
slow=(multi_stream_concurrent_reads multi_stream_writes_block par_launch)
run "${slow[@]/#/--skip=}"
CUDA_EMULATOR_CHECKS=none run "${slow[@]}"
# "must be executed by itself"
for alone in test_post_alloc_memory test_device_side_assert; do
    run --ignored "$alone"
done
for example in "${examples[@]}"; do
    result=FAILED
    if "$work/target/debug/examples/$example" >"$work/out" 2>>"$work/emulator.log"; then
        result=ok
    fi
    echo "example/$example $result" >>"$work/found"
done

# The last result of a test counts: one that is ignored at first may run by itself. Tests of the host's speed are not judged.
awk '{ result[$1] = $2 } END { for (name in result) print name, result[name] }' "$work/found" | sort >"$work/results"
awk '!/^#/ && NF { sub(":", "", $2); print $1, $2 }' "$here/cudarc-suite.txt" | sort >"$work/expected"
timed=$(awk '$2 ~ /^timed/ { print $1 }' "$here/cudarc-suite.txt")
for name in $timed; do
    sed -i "s|^$name .*|$name timed|" "$work/results"
done
echo "cudarc $version: $(grep -c ' ok$' "$work/results") ok, $(grep -c ' FAILED$' "$work/results" || true) failed," \
    "$(grep -c ' ignored$' "$work/results" || true) not run, $(grep -c ' timed$' "$work/results" || true) not judged"
if ! diff "$work/expected" "$work/results"; then
    echo "< expected (cudarc-suite.txt), > found; the emulator's words are in $work/emulator.log"
    exit 1
fi
