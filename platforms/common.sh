# shellcheck shell=bash
# shellcheck disable=SC2034 # The scripts that source this use what it sets.
# What the scripts of this folder share: messages, the cache, packages, the toolchain that can build
# `core` for any target, and an apt root of our own from which foreign packages are downloaded
# without touching the machine's.

PLATFORMS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPOSITORY=$(dirname "$PLATFORMS")
CACHE=${LINUX_AIO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/linux-aio}
readonly PLATFORMS REPOSITORY CACHE
mkdir -p "$CACHE"

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# One line that is overwritten, for a person who watches; nothing in a pipe or a log.
progress() {
    if [[ -t 2 ]]; then
        printf '\r\033[K%s' "$*" >&2
    fi
}

# Runs a command whose output matters only when it fails.
quietly() {
    local log status
    log=$(mktemp)
    status=0
    "$@" >"$log" 2>&1 || status=$?
    if ((status != 0)); then
        progress ''
        tail -n 40 "$log" >&2
    fi
    rm -f "$log"
    return "$status"
}

# The Debian packages named are there when this returns. They are installed, but never by removing
# others, if this is root on a system with apt and CI=true or nobody is at the terminal; else the
# script ends by saying what to install.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    ((${#missing[@]} == 0)) && return
    if ((EUID != 0)) || ! command -v apt-get >/dev/null || [[ ${CI:-} != true && -t 0 ]]; then
        die "these Debian packages are needed: ${missing[*]} (CI=true lets root install them)"
    fi
    progress "installing ${missing[*]}"
    # A list that was never fetched or is out of date makes the first try fail.
    if ! DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 install -y \
        --no-remove --no-install-recommends \
        "${missing[@]}" >/dev/null 2>&1; then
        quietly apt-get -q -o DPkg::Lock::Timeout=600 update
        DEBIAN_FRONTEND=noninteractive quietly apt-get -q -o DPkg::Lock::Timeout=600 install -y \
            --no-remove --no-install-recommends "${missing[@]}" ||
            die "these packages cannot be installed, or only by removing others: ${missing[*]}"
    fi
    progress ''
}

# The place of rustup's nightly compiler, with the source of the standard library. Fetches the
# source if it is missing.
nightly_with_source() {
    local sysroot
    sysroot=$(rustc +nightly --print sysroot 2>/dev/null) || return
    [[ -d $sysroot/lib/rustlib/src/rust/library/core ]] ||
        quietly rustup component add rust-src --toolchain nightly >&2 || return
    printf '%s\n' "$sysroot"
}

# Sets CARGO, RUSTC and LINKER to a compiler with the matching source of `core`, and a linker for
# every architecture. rustup's nightly is preferred; without it, Debian's rustc-web serves if it is
# new enough for the programs. Stable compilers are told to accept -Z build-std by RUSTC_BOOTSTRAP.
need_toolchain() {
    local sysroot candidate
    if [[ -n ${LINUX_AIO_RUSTC:-} ]]; then
        RUSTC=$LINUX_AIO_RUSTC
        CARGO=$(dirname "$RUSTC")/cargo
    elif candidate=$(nightly_with_source); then
        RUSTC=$candidate/bin/rustc
        CARGO=$candidate/bin/cargo
    else
        need_packages rustc-web cargo-web rust-web-src
        RUSTC=/usr/bin/rustc
        CARGO=/usr/bin/cargo
    fi
    [[ -d $("$RUSTC" --print sysroot)/lib/rustlib/src/rust/library/core ]] ||
        die "the source of core is not beside $RUSTC (package rust-web-src, or rustup's component rust-src)"
    LINKER=
    for sysroot in "$("$RUSTC" --print sysroot)" "$(rustc --print sysroot 2>/dev/null || true)"; do
        candidate=$(find "$sysroot/lib/rustlib" -maxdepth 3 -name rust-lld -print -quit \
            2>/dev/null || true)
        if [[ -n $candidate ]]; then
            LINKER=$candidate
            break
        fi
    done
    if [[ -z $LINKER ]]; then
        need_packages lld-19
        LINKER=$(command -v ld.lld-19)
    fi
    export RUSTC RUSTC_BOOTSTRAP=1
    # Flags of the environment were meant for another compiler and another target.
    unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_BUILD_RUSTFLAGS \
        RUSTUP_TOOLCHAIN
}

# Where the machine's own apt fetches Debian from; only the places are taken, with whatever proxy,
# mirror list or authentication apt is configured for. LINUX_AIO_DEBIAN names them on a machine that
# is not Debian.
debian_archives() {
    if [[ -n ${LINUX_AIO_DEBIAN:-} ]]; then
        printf '%s\n' "$LINUX_AIO_DEBIAN"
        return
    fi
    # shellcheck disable=SC2016 # apt expands these.
    apt-get indextargets --format '$(ORIGIN)|$(RELEASE)|$(REPO_URI)' 'Identifier: Packages' \
        2>/dev/null |
        awk -F'|' '
            $1 == "Debian" && $2 ~ /-security$/ { security = $3 }
            $1 == "Debian" && $2 !~ /-/ { main = $3 }
            END { if (main != "") print main, security }'
}

# apt_root SUITE ARCHITECTURE: makes and fills an apt root of our own and sets APT to the options
# that use it. Adding the architecture to the machine instead would let one broken foreign index
# stop every `apt-get update`; for the same reason a root holds one suite only.
apt_root() {
    local suite=$1 architecture=$2 root main security keyring
    root=$CACHE/apt/$suite-$architecture
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [[ -f $keyring ]] || need_packages debian-archive-keyring
    read -r main security <<<"$(debian_archives)"
    [[ -n $main ]] ||
        die "apt has no Debian archive here (after apt-get update); set LINUX_AIO_DEBIAN='URI [URI of the security archive]'"
    if [[ $suite == *-security ]]; then
        [[ -n $security ]] || die \
            "no Debian security archive is known here; set LINUX_AIO_DEBIAN='URI SECURITY-URI'"
        main=$security
    fi
    mkdir -p "$root/state/lists/partial" "$root/cache/archives/partial"
    : >"$root/status"
    printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$main" "$suite" >"$root/sources.list"
    APT=(
        -o APT::Architecture="$architecture" -o APT::Architectures="$architecture" -o \
            APT::Sandbox::User=
        -o Dir::State="$root/state" -o Dir::State::status="$root/status" -o Dir::Cache="$root/cache"
        -o Dir::Etc::sourcelist="$root/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
    )
    quietly apt-get "${APT[@]}" -q update || die \
        "the archive's index of $suite for $architecture cannot be fetched"
}

# need_unpacked SUITE PACKAGE...: packages for this machine's architecture and all they depend on,
# the C library too, unpacked in the cache; the first one's name is the folder's. Nothing is
# installed, so root is not needed and no package of the machine is in the way. Sets UNPACKED to the
# folder, and LOADER to what a program in it must be run by.
need_unpacked() {
    local suite=$1 packages package libraries
    shift
    UNPACKED=$CACHE/unpacked/$suite-$1
    if [[ ! -f $UNPACKED/complete ]]; then
        progress "fetching $* of $suite"
        packages=$UNPACKED.packages
        mkdir -p "$packages/partial"
        apt_root "$suite" "$(dpkg --print-architecture)"
        quietly apt-get "${APT[@]}" -o Dir::Cache::archives="$packages" -q -y \
            --no-install-recommends --download-only \
            install "$@" || die "$suite has not all of: $*"
        rm -rf "$UNPACKED"
        mkdir "$UNPACKED"
        for package in "$packages"/*.deb; do
            dpkg -x "$package" "$UNPACKED" || die "$package cannot be unpacked"
        done
        rm -r "$packages"
        touch "$UNPACKED/complete"
    fi
    libraries=$(find "$UNPACKED" -maxdepth 4 -name 'lib*.so.*' -printf '%h\n' | sort -u |
        paste -sd :)
    LOADER=("$(find "$UNPACKED" -name 'ld*.so.[0-9]' -print -quit)" --library-path "$libraries")
}

# Sets NATIVE and NATIVE_MUSL to the targets, and OCI_ARCHITECTURE to the name among images, of this
# machine.
native() {
    local architecture
    architecture=$(uname -m)
    case $architecture in
    x86_64) OCI_ARCHITECTURE=amd64 ;;
    aarch64) OCI_ARCHITECTURE=arm64 ;;
    s390x) OCI_ARCHITECTURE=s390x ;;
    ppc64le) OCI_ARCHITECTURE=ppc64le architecture=powerpc64le ;;
    riscv64) OCI_ARCHITECTURE=riscv64 architecture=riscv64gc ;;
    *) die "this cannot be done on $architecture" ;;
    esac
    NATIVE=$architecture-unknown-linux-gnu NATIVE_MUSL=$architecture-unknown-linux-musl
}

# build_freestanding TARGET: builds the freestanding package for a target triple and sets PROGRAMS
# to the folder that holds its programs. Needs need_toolchain.
build_freestanding() {
    local target=$1
    PROGRAMS=$CACHE/target/$target/release
    (
        cd "$PLATFORMS/freestanding"
        # No start files and no libraries of any system: lld gets the program's objects alone.
        # shellcheck disable=SC2030 # For this subshell alone.
        # Nothing unwinds: a panic ends the program.
        export RUSTFLAGS="-C linker=$LINKER -C linker-flavor=ld.lld -C default-linker-libraries=no \
            -C relocation-model=static -C target-feature=+crt-static -C force-unwind-tables=no"
        quietly "$CARGO" build --release -Z build-std=core -Z build-std-features=optimize_for_size \
            --target "$target" --target-dir "$CACHE/target"
    ) || die "the freestanding programs cannot be built for $target"
}

# zig's compiler brings musl and glibc for every architecture.
readonly ZIG_VERSION=0.17.1

# The linker for TARGET: `zig cc`, through a wrapper that speaks zig's dialect of targets and
# libraries.
need_zig() {
    local target=$1 zig=$CACHE/zig-$ZIG_VERSION architecture=${1%%-*} libc=${1##*-}
    if [[ ! -x $zig/ziglang/zig ]]; then
        need_packages python3 python3-pip
        progress "fetching zig $ZIG_VERSION"
        quietly python3 -m pip install --quiet --no-deps --root-user-action ignore --target "$zig" \
            "ziglang==$ZIG_VERSION"
    fi
    case $architecture in
    i?86) architecture=x86 ;;
    armv7 | arm) architecture=arm ;;
    riscv64gc) architecture=riscv64 ;;
    esac
    WRAPPER=$zig/cc-$target
    cat >"$WRAPPER" <<END
#!/usr/bin/env bash
arguments=()
for argument in "\$@"; do
    case \$argument in
    --target=* | -m32 | -m64 | -Wl,-melf_i386) ;;
    -lgcc_eh | -lgcc_s) arguments+=(-lunwind) ;;
    -lgcc) ;;
    *) arguments+=("\$argument") ;;
    esac
done
exec "$zig/ziglang/zig" cc -target "$architecture-linux-$libc" "\${arguments[@]}"
END
    chmod +x "$WRAPPER"
    export ZIG_GLOBAL_CACHE_DIR=$CACHE/zig-cache ZIG_LOCAL_CACHE_DIR=$CACHE/zig-cache
}

# need_standard_library TARGET CRATES [MANIFEST]: sets BUILD to the cargo command, up to its
# subcommand's name, and OPTIONS to what follows that, for the library's package or that of
# MANIFEST. Where rustup has no standard library for the target, CRATES of it are built.
need_standard_library() {
    local target=$1 crates=$2 manifest=${3:-$REPOSITORY/Cargo.toml} library model=static
    native
    # What rustup has takes seconds to fetch, and a minute to build.
    [[ $target != "$NATIVE_MUSL" ]] || rustup target add "$target" >/dev/null 2>&1 || true
    library=$(rustc --print target-libdir --target "$target" 2>/dev/null || true)
    OPTIONS=(--target "$target" --manifest-path "$manifest" --target-dir "$CACHE/musl")
    # For another architecture there would be no linker.
    if [[ $target == "$NATIVE_MUSL" ]] && compgen -G "$library/libstd-*.rlib" >/dev/null; then
        # With the compiler that has the library, not the one of need_toolchain.
        BUILD=(env --unset=RUSTC --unset=RUSTC_BOOTSTRAP cargo)
        return
    fi
    need_toolchain
    need_zig "$target"
    BUILD=("$CARGO")
    OPTIONS+=(-Z "build-std=$crates")
    # Elsewhere, without the static model, the result asks for an interpreter. On MIPS with 64 bits
    # the static model is wrong: see platforms/README.md.
    [[ $target != mips64* ]] || model=pic
    # shellcheck disable=SC2031 # The subshell above has its own.
    export RUSTFLAGS="-C linker=$WRAPPER -C target-feature=+crt-static -C link-self-contained=no \
        -C relocation-model=$model"
}

# build_static TARGET PROGRAM...: builds programs of `tools/` (`aio-...`) and examples of the
# library as static binaries for a musl target, and sets STATIC to the folder that holds them.
build_static() {
    local target=$1 program options built
    shift
    need_standard_library "$target" std,panic_abort
    STATIC=$CACHE/musl/$target/programs
    mkdir -p "$STATIC"
    # By itself each has the features of its own package, and is built once for all who ask for it.
    for program in "$@"; do
        case $program in
        aio-*) options=(--package linux-aio-tools --bin "$program") built=$program ;;
        *) options=(--package linux-aio-examples --example "$program") built=examples/$program ;;
        esac
        progress "building $program for $target"
        # panic=abort: the standard library was built for that alone.
        CARGO_PROFILE_RELEASE_PANIC=abort CARGO_PROFILE_RELEASE_STRIP=symbols \
            quietly "${BUILD[@]}" build --release "${options[@]}" "${OPTIONS[@]}" ||
            die "$program cannot be built for $target"
        cp "$CACHE/musl/$target/release/$built" "$STATIC"
    done
}

# build_hosted TARGET: builds the package `hosted` as static binaries for a musl target, and sets
# HOSTED to the folder that holds them.
build_hosted() {
    local target=$1
    need_standard_library "$target" std,panic_abort "$PLATFORMS/hosted/Cargo.toml"
    HOSTED=$CACHE/musl/$target/release
    progress "building for $target"
    quietly "${BUILD[@]}" build --release "${OPTIONS[@]}" ||
        die "the hosted programs cannot be built for $target"
}

# replace_table NAME FILE: puts the file between the lines `<!-- NAME: begin -->` and `<!-- NAME:
# end -->` of docs/platforms.md.
replace_table() {
    local begin="<!-- $1: begin -->" end="<!-- $1: end -->" page=$REPOSITORY/docs/platforms.md \
        marker changed
    for marker in "$begin" "$end"; do
        grep -qxF "$marker" "$page" || die "$page lacks the line '$marker'"
    done
    changed=$(mktemp)
    awk -v begin="$begin" -v end="$end" -v table="$2" '
        $0 == end { skip = 0 }
        !skip { print }
        $0 == begin { skip = 1; while ((getline line < table) > 0) print line }
    ' "$page" >"$changed"
    cat "$changed" >"$page"
    rm -f "$changed"
}
