# shellcheck shell=bash
# What the scripts of this folder share: what may be installed, and how steps are run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TERM_COLOR=never RUSTFLAGS="${RUSTFLAGS:-}"

as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)

# Nothing is installed on a machine that somebody sits at, unless CI=true asks for it.
may_install() {
    [ "${CI:-}" = true ] || ! [ -t 0 ]
}

# A machine that nobody works at builds each thing once: records for the next build of it only take
# time, and nobody reads a backtrace. So `cargo build` and `cargo test` share what they build, too.
if may_install; then
    export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}
    export CARGO_PROFILE_DEV_DEBUG=${CARGO_PROFILE_DEV_DEBUG:-0}
fi

# install PACKAGE...: these Debian packages are there when it returns.
install() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    may_install || { echo "missing: ${missing[*]} (CI=true installs them)"; return 1; }
    # Cross and emulation packages of mixed releases push each other out: better to fail than to
    # lose one. Whoever is installing at this time is waited for.
    local -a command=("${as_root[@]}" apt-get -qq -o DPkg::Lock::Timeout=600 install -y
        --no-install-recommends --no-remove "${missing[@]}")
    local -x DEBIAN_FRONTEND=noninteractive
    # Without the lists of packages, or with old ones, this fails.
    "${command[@]}" >/dev/null 2>&1 && return
    "${as_root[@]}" apt-get -qq update
    "${command[@]}" >/dev/null
}

# tool NAME: this program of cargo's is there when it returns.
tool() {
    command -v "$1" >/dev/null && return
    may_install || { echo "missing: $1 (CI=true installs it)"; return 1; }
    # Unoptimized, which halves the time: it has little to do here.
    cargo install --quiet --locked --debug "$1"
}

# nightly [COMPONENT...]: rustup's nightly toolchain is there when it returns.
nightly() {
    local component
    if ! rustup run nightly rustc --version >/dev/null 2>&1; then
        may_install || { echo 'missing: a nightly toolchain (CI=true installs it)'; return 1; }
        rustup toolchain install nightly --profile minimal
    fi
    for component; do
        rustup component list --toolchain nightly --installed | grep -q "^$component" && continue
        may_install || { echo "missing: $component of nightly (CI=true installs it)"; return 1; }
        rustup component add "$component" --toolchain nightly
    done
}

# feature_sets [OPTION...]: no warnings with any set of features. `default` is the same as `std`.
feature_sets() {
    tool cargo-hack
    cargo hack clippy -p linux-aio --feature-powerset --exclude-features default \
        --group-features metrics,tracing --group-features futures-io,stream "$@" -- -D warnings
    cargo hack clippy -p linux-aio-raw -p linux-aio-abi -p linux-aio-probe -p linux-aio-sim \
        --feature-powerset --exclude-features default -- -D warnings
}

# libfuzzer SECONDS: each target under libFuzzer for so long, on the simulated kernel, as many at a
# time as there are processors. With cargo-fuzz's flags and not by itself: it takes a minute to
# install, and asks for all debug information and for code that nothing calls.
libfuzzer() {
    local found host target programs
    local -a flags=(--cfg fuzzing --cfg linux_aio_simulated -Zsanitizer=address
        -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-{level=4,inline-8bit-counters}
        -Cllvm-args=-sanitizer-coverage-{pc-table,trace-compares,stack-depth})
    nightly
    host=$(rustc -vV | sed -n 's/^host: //p')
    # Where clang's package has libFuzzer, it need not be built.
    found=$(find /usr/lib/llvm-*/lib/clang -name "libclang_rt.fuzzer-${host%%-*}.a" -print -quit \
        2>/dev/null || true)
    [ -z "$found" ] || local -x CUSTOM_LIBFUZZER_PATH=$found
    # With a target of its own, what runs while it is built is not instrumented.
    RUSTFLAGS="$RUSTFLAGS ${flags[*]}" cargo +nightly build --manifest-path fuzz/Cargo.toml \
        --target-dir fuzz/target/libfuzzer --target "$host" --release --bins
    programs=fuzz/target/libfuzzer/$host/release
    found=$(mktemp -d)
    for target in fuzz/fuzz_targets/*.rs; do
        target=$(basename "$target" .rs)
        mkdir -p "$found/$target" "fuzz/artifacts/$target"
        fuzz/seeds unpack "$target" "$found/$target-seeds" >&2
        echo "$target"
    done | xargs -P "$(nproc)" -I '{}' env ASAN_OPTIONS=detect_leaks=0 "$programs/{}" \
        "$found/{}" "$found/{}-seeds" -artifact_prefix='fuzz/artifacts/{}/' -max_len=4096 \
        -max_total_time="$1" -verbosity=0
    rm -r "$found"
}

# run_steps STEP...: those that CI_ONLY names, or all.
run_steps() {
    # shellcheck disable=SC2086
    each_step ${CI_ONLY:-"$@"}
    echo 'all steps passed'
}

# each_step STEP...: says how long each took by the clock, and of the processors.
each_step() {
    local step TIMEFORMAT
    for step; do
        echo "== $step"
        TIMEFORMAT="== $step: %0R s, processors: user %0U s, system %0S s"
        time "$step"
    done
}
