#!/bin/sh
# Checks every target below against its golden file, without a linker or a C library for it.
#
# usage: [CARGO="cargo +nightly"] ./check.sh [TARGET...]
#
# It needs a nightly cargo with the component rust-src, or a stable one that comes with the source
# of its own std, and RUSTC_BOOTSTRAP=1.
#
# m68k-unknown-linux-gnu, mipsisa32r6-unknown-linux-gnu and csky-unknown-linux-gnuabiv2 are checked
# only when named: LLVM 22 fails on core or compiler_builtins for the first two, and not every LLVM
# has a back end for the third.
set -u
cd "$(dirname "$0")" || exit
CARGO=${CARGO:-cargo +nightly}
[ $# -gt 0 ] || set -- \
	x86_64-unknown-linux-gnu x86_64-unknown-linux-gnux32 i686-unknown-linux-gnu i686-linux-android \
	armv7-unknown-linux-gnueabihf armv5te-unknown-linux-gnueabi armeb-unknown-linux-gnueabi \
	aarch64-unknown-linux-gnu aarch64_be-unknown-linux-gnu aarch64-linux-android \
	riscv32gc-unknown-linux-gnu riscv64gc-unknown-linux-gnu loongarch64-unknown-linux-gnu \
	s390x-unknown-linux-gnu \
	powerpc-unknown-linux-gnu powerpc64-unknown-linux-gnu powerpc64le-unknown-linux-gnu \
	mips-unknown-linux-gnu mipsel-unknown-linux-gnu \
	mips64-unknown-linux-gnuabi64 mips64el-unknown-linux-gnuabi64 \
	mipsisa64r6el-unknown-linux-gnuabi64 \
	sparc-unknown-linux-gnu sparc64-unknown-linux-gnu \
	hexagon-unknown-linux-musl \
	x86_64-apple-darwin x86_64-pc-windows-msvc
failed=0
for target; do
	# $CARGO is a command with arguments.
	# shellcheck disable=SC2086
	if $CARGO check --quiet -Z build-std=core --target "$target"; then
		echo "ok      $target"
	else
		echo "FAILED  $target"
		failed=1
	fi
done
exit $failed
