#!/bin/sh
# Writes the golden files: one NAME.txt for each architecture, from golden.c and the kernel's
# headers. Nothing is run and no C library is needed.
#
# usage: HEADERS=DIR [CLANG=clang] [M68K_CC=m68k-linux-gnu-gcc] [OUT=DIR] ./generate.sh
#
# HEADERS is a tree of exported kernel headers (`make headers_install`) as Zig ships it in
# lib/libc/include: <arch>-linux-any for each architecture and any-linux-any for what they share.
# CLANG needs the front ends of all architectures (CSKY: clang 15 or later), but no back end, since
# it stops at LLVM IR: `zig clang` is one such. m68k takes gcc, because clang aligns long long to 8
# bytes there and the kernel is built by gcc, which aligns it to 2.
set -eu
cd "$(dirname "$0")"
: "${HEADERS:?a tree of exported kernel headers, see the head of this script}"
CLANG=${CLANG:-clang}
M68K_CC=${M68K_CC:-m68k-linux-gnu-gcc}
OUT=${OUT:-.}

includes() {
	echo "-nostdinc -isystem $HEADERS/$1-linux-any -isystem $HEADERS/any-linux-any"
}

# In IR a value stands behind the text: asm sideeffect "...golden:NAME=${0:c}\22", "i...(i32
# VALUE)".
ir() { # NAME TRIPLE HEADERS_ARCH
	# shellcheck disable=SC2046,SC2086
	$CLANG -target "$2" -O1 $(includes "$3") -emit-llvm -S -o - golden.c |
		sed -n 's/.*golden:\([A-Za-z0-9_.]*\)=.*(i32 \(-\{0,1\}[0-9]*\)).*/\1 \2/p' >"$OUT/$1.txt"
	test -s "$OUT/$1.txt"
}

# In assembly it is in the text: .ascii "golden:NAME=VALUE".
assembly() { # NAME COMPILER HEADERS_ARCH
	# shellcheck disable=SC2046,SC2086
	$2 -O1 $(includes "$3") -S -o - golden.c |
		sed -n 's/.*golden:\([A-Za-z0-9_.]*\)=\(-\{0,1\}[0-9]*\)".*/\1 \2/p' >"$OUT/$1.txt"
	test -s "$OUT/$1.txt"
}

ir x86_64 x86_64-linux-gnu x86
ir x32 x86_64-linux-gnux32 x86
ir i386 i386-linux-gnu x86
ir arm arm-linux-gnueabi arm
ir armeb armeb-linux-gnueabi arm
ir aarch64 aarch64-linux-gnu aarch64
ir aarch64_be aarch64_be-linux-gnu aarch64
ir riscv32 riscv32-linux-gnu riscv
ir riscv64 riscv64-linux-gnu riscv
ir loongarch64 loongarch64-linux-gnu loongarch
ir s390x s390x-linux-gnu s390x
ir powerpc powerpc-linux-gnu powerpc
ir powerpc64 powerpc64-linux-gnu powerpc
ir powerpc64le powerpc64le-linux-gnu powerpc
ir mips mips-linux-gnu mips
ir mipsel mipsel-linux-gnu mips
ir mips64 mips64-linux-gnuabi64 mips
ir mips64el mips64el-linux-gnuabi64 mips
ir sparc sparc-linux-gnu sparc
ir sparc64 sparc64-linux-gnu sparc
ir csky csky-linux-gnu csky
ir hexagon hexagon-linux-musl hexagon
assembly m68k "$M68K_CC" m68k
