#!/usr/bin/env bash
# All tests of the C drop-in but those with other people's programs.
#   check.sh DIRECTORY-OF-THE-LIBRARIES    with REAP=0 in the environment where they do not reap
# A test that this machine cannot run is skipped, with the reason; the last line counts.
set -uo pipefail
export LC_ALL=C

libraries=$(cd "$1" && pwd) || exit 1
tests=$(cd "$(dirname "$0")" && pwd) || exit 1
capi=$(dirname "$tests")
work=$(mktemp -d "$libraries/check.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

cc=${CC:-cc}
cxx=${CXX:-c++}
strict=(-O2 -Wall -Wextra -Wpedantic -Werror "-I$capi/include")
source=$tests/c
passed=0 failed=0 skipped=0

skip() {
	echo "SKIPPED $1: $2"
	skipped=$((skipped + 1))
}

# check NAME COMMAND...: passes if the command does; a command that ends with 77 says why it cannot
# test.
check() {
	local name=$1 output status=0
	shift
	output=$("$@" 2>&1) || status=$?
	case $status in
	0) echo "passed  $name"; passed=$((passed + 1)) ;;
	77) skip "$name" "$output" ;;
	*)
		echo "FAILED  $name: status $status from: $*"
		printf '%s\n' "$output" | sed 's/^/        /'
		failed=$((failed + 1))
		;;
	esac
}

# have NAME TOOL PACKAGE: whether the tool is there; skips NAME if not.
have() {
	command -v "$2" >/dev/null || { skip "$1" "no $2 (Debian: apt-get install $3)"; return 1; }
}

# build_and_run COMPILER-ARGUMENTS...: the program is ./program; arguments after -- are its own.
build_and_run() {
	local arguments=()
	while [[ $# -gt 0 && $1 != -- ]]; do
		arguments+=("$1")
		shift
	done
	shift || true
	rm -f program
	"${arguments[@]}" -o program || return 1
	./program "$@"
}

# --- what other programs see ---------------------------------------------------------------------

# surfaces DIRECTORY BITS
surfaces() {
	local file
	for file in libaio.so.1 libaio.so.1t64 libaio.a; do
		check "surface of $file, $2 bits" surface "$1/$file" "$tests/surface/$file.$2"
	done
}

# Without reaping there is no environment to be read.
surface() {
	"$tests/surface.sh" "$1" >found || return 1
	if [[ ${REAP:-1} == 0 ]]; then
		sed -e '/ environ$/d' -e 's/^relocations 8$/relocations 7/' "$2" | diff -u - found
	else
		diff -u "$2" found
	fi
}

# at_most BYTES FILE
at_most() {
	local size
	strip -o stripped "$2" || return 1
	size=$(stat -c %s stripped)
	[[ $size -le $1 ]] || { echo "$2 has $size bytes stripped, allowed are $1"; return 1; }
}

# What the linker gets from Rust calls nobody but its own functions, by their C names, and has no
# way to panic. What may be missing is weak.
self_contained() {
	! nm "$libraries/libaio.o" | grep -iE 'panic|unwind' || return 1
	! nm -u "$libraries/libaio.o" | grep -vE \
		' (w .*|U (io_(setup|destroy|cancel|getevents)|_GLOBAL_OFFSET_TABLE_))$'
}

machine=$(readelf -h "$libraries/libaio.so.1" | sed -n 's/.*Machine: *//p')
class=$(readelf -h "$libraries/libaio.so.1" | sed -n 's/.*Class: *ELF//p')
surfaces "$libraries" "$class"
check 'nothing undefined, no panics' self_contained
if [[ $machine == *X86-64* && $class == 64 ]]; then
	# What the original has on this architecture, and twice the original's archive.
	check 'size of libaio.so.1' at_most 14184 "$libraries/libaio.so.1"
	check 'size of libaio.so.1t64' at_most 14184 "$libraries/libaio.so.1t64"
	for file in libaio.so.1 libaio.so.1t64 libaio.a; do
		check "instructions to the system call in $file" "$tests/instructions.sh" "$libraries/$file"
	done
fi
check 'size of libaio.a' test "$(stat -c %s "$libraries/libaio.a")" -le 32768

installed_tree() {
	local root=$work/root file
	rm -rf "$root"
	make -s -C "$capi" O="$libraries" DESTDIR="$root" PREFIX=/usr LIBDIR=/usr/lib/x \
		INCLUDEDIR=/usr/include/x install || return 1
	local name
	for file in lib/x/libaio.so.1.0.2 lib/x/libaio.so.1t64.0.2 lib/x/libaio.a \
		lib/x/pkgconfig/libaio.pc include/x/libaio.h \
		share/man/man3/libaio.3 share/doc/linux-aio/{LICENSE-APACHE,LICENSE-MIT,README.md}; do
		[[ -f $root/usr/$file && ! -L $root/usr/$file ]] || { echo "no $file"; return 1; }
	done
	[[ $(readlink "$root/usr/lib/x/libaio.so.1") == libaio.so.1.0.2 ]] || return 1
	[[ $(readlink "$root/usr/lib/x/libaio.so") == libaio.so.1.0.2 ]] || return 1
	[[ $(readlink "$root/usr/lib/x/libaio.so.1t64") == libaio.so.1t64.0.2 ]] || return 1
	grep -qx 'libdir=/usr/lib/x' "$root/usr/lib/x/pkgconfig/libaio.pc" || return 1
	grep -qx 'includedir=/usr/include/x' "$root/usr/lib/x/pkgconfig/libaio.pc" || return 1
	# Every function that the header declares or defines has a page.
	for name in $(sed -n 's/^\(extern\|LIBAIO_INLINE_\) [a-z]* \(io_[a-z0-9_]*\)(.*/\2/p' \
		"$capi/include/libaio.h"); do
		[[ -s $root/usr/share/man/man3/$name.3 ]] || { echo "no manual page of $name"; return 1; }
	done
	[[ -s $root/usr/share/man/man3/io_prep_pwritev2.3 ]] || return 1
	grep -qx 'prefix=/usr' "$root/usr/lib/x/pkgconfig/libaio.pc"
}
check 'make install' installed_tree

# For `dpkg-shlibdeps` of a distribution: the files name all that the libraries have, and nothing
# else.
symbols_files() {
	local package
	mkdir -p symbols/debian
	for package in libaio1:libaio.so.1.0.2 libaio1t64:libaio.so.1t64.0.2; do
		printf 'Source: libaio\n\nPackage: %s\nArchitecture: any\n' "${package%:*}" \
			>symbols/debian/control
		(cd symbols && dpkg-gensymbols -q -c4 -p"${package%:*}" -v0.3.113 -e"$libraries/${package#*:}" \
			-I"$capi/packaging/debian/${package%:*}-linux-aio.symbols" -O/dev/null) || return 1
	done
}
have 'symbols files of dpkg' dpkg-gensymbols dpkg-dev && check 'symbols files of dpkg' symbols_files

# The same source in another directory gives the same bytes: of the libraries, and with them of
# symbols and sections.
same_elsewhere() {
	local elsewhere=$work/elsewhere/in/a/directory/with/a/longer/name file
	mkdir -p "$elsewhere"
	tar -C "$capi/.." --exclude=target --exclude=./.git -cf - . |
		tar -C "$elsewhere" -xf - || return 1
	make -s -C "$elsewhere/capi" REAP="${REAP:-1}" || return 1
	for file in libaio.so.1 libaio.so.1t64 libaio.a; do
		cmp "$libraries/$file" "$elsewhere"/capi/target/libaio*/"$file" || return 1
	done
	rm -rf "$work/elsewhere"
}
check 'the same libraries from another directory' same_elsewhere

manual_pages() {
	local output
	output=$(mandoc -T lint -W warning "$capi"/man/*.3) || { printf '%s\n' "$output"; return 1; }
}
have 'manual pages' mandoc mandoc && check 'manual pages' manual_pages

# --- the header ----------------------------------------------------------------------------------

# compiles COMPILER...: with every warning, alone and beside the headers that name the same things
compiles() {
	local other
	"$@" "${strict[@]}" -fsyntax-only "$source/header.c" || return 1
	"$@" "${strict[@]}" -fsyntax-only -DOLD_PROGRAM "$source/header.c" || return 1
	# In quotes: gnu89 and its like make a 1 of linux within < and >.
	for other in '"sys/uio.h"' '"linux/fs.h"' '"time.h"' '"sys/socket.h"' '"sys/eventfd.h"'; do
		"$@" "${strict[@]}" -fsyntax-only -D_GNU_SOURCE -DFIRST="$other" "$source/header.c" || return 1
		"$@" "${strict[@]}" -fsyntax-only -D_GNU_SOURCE -DLAST="$other" "$source/header.c" || return 1
	done
}

# knows COMPILER STANDARD LANGUAGE
knows() {
	echo | "$1" -x "$3" "-std=$2" -fsyntax-only - 2>/dev/null
}

layout_on() {
	clang "--target=$1" -std=c11 -nostdinc -isystem "$source/freestanding" \
		-isystem "$(clang -print-resource-dir)/include" "${strict[@]}" -fsyntax-only "$source/layout.c"
}
# It is the same file where the libraries do not reap, and is checked once.
if [[ ${REAP:-1} != 0 ]]; then
	for compiler in gcc clang; do
		have "header with $compiler" "$compiler" "$compiler" || continue
		for standard in c89 gnu89 c99 gnu99 c11 c17 c2x gnu2x c23; do
			knows "$compiler" "$standard" c && check "header as $standard with $compiler" compiles \
				"$compiler" "-std=$standard"
		done
	done
	for compiler in g++ clang++; do
		have "header with $compiler" "$compiler" "${compiler/clang++/clang}" || continue
		for standard in c++98 c++03 c++11 c++14 c++17 c++20 c++2b; do
			knows "$compiler" "$standard" c++ && check "header as $standard with $compiler" compiles \
				"$compiler" -x c++ "-std=$standard"
		done
	done
	# musl has no <linux/fs.h> beside it: the plain form only.
	have 'header with musl' musl-gcc musl-tools &&
		check 'header with musl' musl-gcc -std=c89 "${strict[@]}" -fsyntax-only "$source/header.c"
	if have 'layouts of other architectures' clang clang; then
		# Both byte orders with both widths, and every architecture that the library knows.
		for target in x86_64-linux-gnu x86_64-linux-gnux32 i686-linux-gnu aarch64-linux-gnu \
			aarch64_be-linux-gnu \
			armv7-linux-gnueabihf armv7eb-linux-gnueabihf riscv64-linux-gnu riscv32-linux-gnu \
				s390x-linux-gnu \
			powerpc-linux-gnu powerpc64-linux-gnu powerpc64le-linux-gnu mips-linux-gnu mipsel-linux-gnu \
			mips64-linux-gnuabi64 mips64-linux-gnuabin32 sparc-linux-gnu sparc64-linux-gnu; do
			check "layout on $target" layout_on "$target"
		done
	fi
fi

# --- C programs ----------------------------------------------------------------------------------

# programs KIND SUITABLE-COMPILER-ARGUMENTS... -- LIBRARY-ARGUMENTS...: those that need nothing but
# the functions
programs() {
	local kind=$1 program compiler=()
	shift
	while [[ $1 != -- ]]; do
		compiler+=("$1")
		shift
	done
	shift
	for program in functions contexts fork queue_run inlines; do
		check "$program, $kind" build_and_run "${compiler[@]}" -std=c99 "${strict[@]}" \
			"$source/$program.c" "$@"
	done
}

shared=("-Wl,-rpath,$libraries" "$libraries/libaio.so")
programs 'shared' $cc -- "${shared[@]}"
programs 'shared, libaio.so.1t64' $cc -- "-Wl,-rpath,$libraries" "$libraries/libaio.so.1t64"
programs 'static' $cc -- -static "$libraries/libaio.a"
programs 'static library in a position-independent program' $cc -pie -fPIE -- "$libraries/libaio.a"
programs 'static, link-time optimization' $cc -flto -- -static "$libraries/libaio.a"
programs 'shared, link-time optimization' $cc -flto -- "${shared[@]}"
programs 'static, unused sections dropped' $cc -ffunction-sections -Wl,--gc-sections -- -static \
    "$libraries/libaio.a"
if have 'programs with lld' ld.lld lld; then
	programs 'shared, lld' $cc -fuse-ld=lld -- "${shared[@]}"
	programs 'static, lld' $cc -fuse-ld=lld -- -static "$libraries/libaio.a"
	have 'programs with clang and lld' clang clang &&
		programs 'static, link-time optimization by clang and lld' clang -flto -fuse-ld=lld -- -static \
			"$libraries/libaio.a"
fi
if have 'programs with musl' musl-gcc musl-tools; then
	programs 'static, musl' musl-gcc -- -static "$libraries/libaio.a"
	programs 'shared, musl' musl-gcc -- "${shared[@]}"
fi

for kind in shared static; do
	if [[ $kind == shared ]]; then
		library=("${shared[@]}" -ldl)
	else
		library=(-DSTATIC_LIBRARY -static "$libraries/libaio.a")
	fi
	check "functions replaced by the program, $kind" build_and_run $cc -std=c99 "${strict[@]}" \
		"$source/interposed.c" \
		"${library[@]}"
done
if have 'functions replaced by the program, musl' musl-gcc musl-tools; then
	check 'functions replaced by the program, musl' build_and_run musl-gcc -std=c99 "${strict[@]}" \
		"$source/interposed.c" \
		"${shared[@]}" -idirafter /usr/include -idirafter "/usr/include/$($cc -print-multiarch)"
fi
for program in ends asking; do
	check "$program, shared" build_and_run $cc -std=c99 "${strict[@]}" "$source/$program.c" \
		"${shared[@]}" -pthread
	check "$program, static" build_and_run $cc -std=c99 "${strict[@]}" "$source/$program.c" -static \
		"$libraries/libaio.a" \
		-pthread
done

# seen_by PROGRAM TOOL...: the tool finds nothing wrong in `written`, and what is wrong in `written
# bad`.
seen_by() {
	local program=$1
	shift
	"$@" "./$program" || return 1
	! "$@" "./$program" bad >output 2>&1 || { echo \
		"it has not noticed a byte that nobody has written"; return 1; }
	grep -q 'ninitiali[sz]ed' output
}

for kind in shared static; do
	[[ $kind == shared ]] && library=("${shared[@]}") || library=("$libraries/libaio.a")
	check "memory that was written, $kind" build_and_run $cc -std=c99 "${strict[@]}" \
		"$source/written.c" "${library[@]}" -- refused
	have "valgrind, $kind" valgrind valgrind &&
		check "valgrind, $kind" seen_by program valgrind -q --error-exitcode=9
	if have "MemorySanitizer, $kind" clang 'clang libclang-rt-14-dev'; then
		if clang -fsanitize=memory -g -O1 -std=c99 "-I$capi/include" "$source/written.c" -o sanitized \
			"${library[@]}" 2>output; then
			check "MemorySanitizer, $kind" seen_by sanitized env
			check "MemorySanitizer, what is refused, $kind" ./sanitized refused
		else
			skip "MemorySanitizer, $kind" \
				"clang has no runtime for it (Debian: apt-get install libclang-rt-14-dev)"
		fi
	fi
done

for file in libaio.so.1 libaio.so.1t64; do
	check "versions of $file" build_and_run $cc -std=c99 "${strict[@]}" "$source/versions.c" \
		"-Wl,-rpath,$libraries" "$libraries/$file" -ldl -- "$libraries/$file"
done
check 'C++ program' build_and_run "$cxx" "${strict[@]}" "$source/cplusplus.cc" "${shared[@]}"
check 'C++98 program, static' build_and_run "$cxx" -std=c++98 "${strict[@]}" \
    "$source/cplusplus.cc" -static "$libraries/libaio.a"

beside_another_rust_library() {
	rustc --edition 2024 --crate-type staticlib -O -o libother.a "$tests/rust/other.rs" &&
		build_and_run $cc "${strict[@]}" "$tests/rust/main.c" "$libraries/libaio.a" libother.a -lpthread \
			-ldl -lgcc_s
}
have 'beside another Rust static library' rustc rustc &&
	check 'beside another Rust static library' beside_another_rust_library

# --- events without a system call ----------------------------------------------------------------

# same_edges LIBRARY-ARGUMENTS...: reaping or not, io_getevents gives the same.
same_edges() {
	$cc -std=c99 "${strict[@]}" "$source/edges.c" "$@" -o edges &&
		LINUX_AIO_REAP=1 ./edges >reaped.txt && LINUX_AIO_REAP=0 ./edges >called.txt &&
		[[ $(wc -l <called.txt) -gt 1000 ]] && diff -u called.txt reaped.txt
}

# Without it there is no switch either. Machines with 32 bits never have it.
does_not_reap() {
	! grep -q LINUX_AIO_REAP "$1/libaio.so.1" "$1/libaio.a"
}

if [[ ${REAP:-1} == 0 || $class == 32 ]]; then
	check 'no reaping' does_not_reap "$libraries"
	check 'loaded and unloaded' build_and_run $cc -std=c99 "${strict[@]}" "$source/loading.c" -ldl -- \
		"$libraries/libaio.so.1" no-reap
else
	for kind in shared static; do
		[[ $kind == shared ]] && library=("${shared[@]}") || library=(-static "$libraries/libaio.a")
		check "reaping and its switch, $kind" build_and_run $cc -std=c99 "${strict[@]}" \
			"$source/reaping.c" "${library[@]}"
		check "reaping or not, the same, $kind" same_edges "${library[@]}"
	done
	# Then its constructor runs before those of the C library.
	check 'reaping and its switch, named after the C library' build_and_run $cc -std=c99 \
		"${strict[@]}" "$source/reaping.c" \
		-Wl,--no-as-needed -lc "${shared[@]}"
	if have 'reaping and its switch with musl' musl-gcc musl-tools; then
		kernel_headers=(-idirafter /usr/include -idirafter "/usr/include/$($cc -print-multiarch)")
		check 'reaping and its switch, static, musl' build_and_run musl-gcc -std=c99 "${strict[@]}" \
			"$source/reaping.c" \
			"${kernel_headers[@]}" -static "$libraries/libaio.a"
		check 'reaping and its switch, shared, musl' build_and_run musl-gcc -std=c99 "${strict[@]}" \
			"$source/reaping.c" \
			"${kernel_headers[@]}" "${shared[@]}"
	fi
	check 'loaded and unloaded' build_and_run $cc -std=c99 "${strict[@]}" "$source/loading.c" -ldl -- \
		"$libraries/libaio.so.1"
fi

# What lld has in common with GNU ld. It does not write down which node comes after which, and
# nothing that loads a library looks at that; it has another order, and its own number of
# relocations.
but_for_the_linker() {
	local facts=(-e 's/ after .*//' -e '/^relocations /d')
	[[ ${REAP:-1} != 0 ]] || facts+=(-e '/ environ$/d')
	sed "${facts[@]}" "$@" | sort
}

linked_by_lld() {
	local map
	for map in "libaio.so.1 libaio.map" "libaio.so.1t64 libaio-t64.map"; do
		set -- $map
		ld.lld -shared -z now -z relro -z text -z defs -soname "$1" --version-script="$libraries/$2" \
			--hash-style=gnu -o "$1" "$libraries/libaio.o" || return 1
		but_for_the_linker "$tests/surface/$1.$class" >wanted
		"$tests/surface.sh" "$work/$1" >found || return 1
		but_for_the_linker found | diff -u wanted - || return 1
	done
}
have 'linked by lld' ld.lld lld && check 'shared libraries linked by lld' linked_by_lld

# --- the original --------------------------------------------------------------------------------

# Sets `original` to a directory with Debian's library and header.
fetch_original() {
	local package
	original=$work/original
	mkdir -p "$original"
	for package in libaio1 libaio1t64 libaio-dev; do
		(cd "$original" && apt-get download "$package") >/dev/null 2>&1
	done
	for package in "$original"/*.deb; do
		[[ -f $package ]] && dpkg -x "$package" "$original"
	done
	original_library=$(find "$original" -type f -name 'libaio.so.1*' | head -n 1)
	original_header=$(find "$original" -type f -name libaio.h | head -n 1)
	[[ -n $original_library && -n $original_header ]]
}

# same_inlines COMPILER... -- LIBRARY...
same_inlines() {
	local compiler=()
	while [[ $1 != -- ]]; do
		compiler+=("$1")
		shift
	done
	shift
	"${compiler[@]}" -std=c99 -O2 "-I$capi/include" "$source/inlines.c" "$@" -o ours &&
		"${compiler[@]}" -std=c99 -O2 -DORIGINAL_HEADER "-I$(dirname "$original_header")" \
			"$source/inlines.c" "$@" -o theirs &&
		./ours >ours.txt && ./theirs >theirs.txt && [[ $(wc -l <ours.txt) -ge 13 ]] &&
			diff -u theirs.txt ours.txt
}

if ! command -v apt-get >/dev/null; then
	skip 'comparison with the original libaio' \
		'it is taken from Debian packages, and there is no apt-get'
elif ! fetch_original; then
	skip 'comparison with the original libaio' \
		'apt-get download libaio1 libaio-dev gave nothing (try apt-get update)'
else
	check 'inlines as in the original header' same_inlines $cc -- "${shared[@]}"
	# What the program can replace is what it can with the original.
	check 'functions replaced by the program, with the original library' build_and_run $cc -std=c99 \
		"${strict[@]}" \
		"$source/interposed.c" "$original_library" "-Wl,-rpath,$(dirname "$original_library")" -ldl
	if [[ $class == 64 ]]; then
		check 'functions as in the original library' build_and_run $cc -std=c99 "${strict[@]}" \
			"$source/differential.c" -ldl -- "$libraries/libaio.so.1" "$original_library"
		check 'functions as in the original library, without reaping' env LINUX_AIO_REAP=0 \
			./program "$libraries/libaio.so.1" "$original_library"
	fi
fi

# --- other machines ------------------------------------------------------------------------------

# build_for TARGET DIRECTORY: by rustup's target or Debian's sources of core. The compiler is the
# Makefile's choice. With reaping and without, `core` is the same.
build_for() {
	unset CC CXX
	local -x CARGO_DIR=${libraries%-no-reap}-$1/cargo
	if [[ -d $(rustc --print target-libdir --target "$1" 2>/dev/null) ]]; then
		make -C "$capi" TARGET="$1" O="$2"
	elif [[ -x /usr/bin/cargo && -d /usr/src/rustc-$(/usr/bin/rustc -V | cut -d' ' -f2) ]]; then
		make -C "$capi" TARGET="$1" O="$2" CARGOFLAGS='-Z build-std=core' \
			CARGO='env RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 /usr/bin/cargo'
	else
		echo "no core for $1 (rustup target add $1, or Debian: apt-get install rustc-web cargo-web rust-web-src)"
		return 77
	fi
}

# surface_for TARGET: as on this machine, but for what lld does not write down; and no more than
# that.
surface_for() {
	local file built=$libraries-$1
	build_for "$1" "$built" || return
	for file in libaio.so.1 libaio.so.1t64 libaio.a; do
		"$tests/surface.sh" "$built/$file" >found || return 1
		but_for_the_linker "$tests/surface/$file.64" >wanted
		but_for_the_linker found | diff -u wanted - || return 1
		[[ $(stat -Lc %s "$built/$file") -le 20480 ]] || { echo \
			"$file has $(stat -Lc %s "$built/$file") bytes"; return 1; }
	done
}
if [[ $machine == *X86-64* ]] && have 'libraries for aarch64' ld.lld 'clang lld llvm'; then
	check 'libraries for aarch64' surface_for aarch64-unknown-linux-gnu
fi

# --- 32 bits -------------------------------------------------------------------------------------

libraries32=$libraries-i686-unknown-linux-gnu

# The kernel's headers are the same for both; without gcc-multilib they are found only where the
# 64-bit ones lie.
m32=(-m32 -idirafter "/usr/include/$($cc -print-multiarch 2>/dev/null)")

runs_32_bit() {
	echo 'int main(void) { return 0; }' >empty.c
	$cc "${m32[@]}" empty.c -o empty && ./empty
}

# The object refers to the functions with the 64-bit time, and to no others that take a time.
redirected() {
	$cc "${m32[@]}" -D_TIME_BITS=64 -D_FILE_OFFSET_BITS=64 -std=c99 "${strict[@]}" -c \
		"$source/functions.c" -o time64.o || return 1
	nm -u time64.o | grep -qw io_getevents_time64 && nm -u time64.o | grep -qw io_pgetevents_time64 &&
		! nm -u time64.o | grep -qwE 'io_p?getevents'
}

if [[ $machine == *X86-64* ]]; then
	build_status=0
	build_output=$(build_for i686-unknown-linux-gnu "$libraries32" 2>&1) || build_status=$?
	case $build_status in
	0)
		echo "passed  32-bit build"; passed=$((passed + 1))
		surfaces "$libraries32" 32
		check 'no reaping, 32 bits' does_not_reap "$libraries32"
		if ! runs_32_bit 2>/dev/null; then
			skip '32-bit programs' \
				'cc -m32 makes no program that runs (Debian: apt-get install gcc-multilib, or gcc-12-multilib beside a cross gcc)'
		else
			shared32=("-Wl,-rpath,$libraries32" "$libraries32/libaio.so")
			wide=(-D_TIME_BITS=64 -D_FILE_OFFSET_BITS=64)
			programs '32 bits, shared' $cc "${m32[@]}" -- "${shared32[@]}"
			programs '32 bits, static' $cc "${m32[@]}" -- -static "$libraries32/libaio.a"
			programs '32 bits, shared, 64-bit time' $cc "${m32[@]}" "${wide[@]}" -- "${shared32[@]}"
			programs '32 bits, static, 64-bit time' $cc "${m32[@]}" "${wide[@]}" -- -static \
				"$libraries32/libaio.a"
			[[ -z ${original_header:-} ]] ||
				check 'inlines as in the original header, 32 bits' same_inlines $cc "${m32[@]}" -- \
					"${shared32[@]}"
			check '32 bits, 64-bit time: the header redirects' redirected
			for file in libaio.so.1 libaio.so.1t64; do
				check "versions of $file, 32 bits" build_and_run $cc "${m32[@]}" -std=c99 "${strict[@]}" \
					"$source/versions.c" "-Wl,-rpath,$libraries32" "$libraries32/$file" -ldl -- \
						"$libraries32/$file"
			done
			check '32 bits, 64-bit time: refused by a filter' build_and_run $cc "${m32[@]}" "${wide[@]}" \
				-std=c99 "${strict[@]}" \
				"$source/time64.c" "${shared32[@]}"
		fi
		;;
	77) skip '32-bit build' "$build_output" ;;
	*)
		echo "FAILED  32-bit build"; failed=$((failed + 1))
		printf '%s\n' "$build_output" | sed 's/^/        /'
		;;
	esac
fi

echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed -eq 0 && $passed -gt 0 ]]
