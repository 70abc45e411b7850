#!/usr/bin/env bash
# Prints what other programs can see of one of the libraries, a fact a line, to be compared with a
# table in surface/.
#   surface.sh FILE
set -euo pipefail
export LC_ALL=C
file=$1

# powerpc64 has a column of its own.
symbols() {
	readelf "$1" -W "$file" | sed 's/ \[<localentry>: [0-9]*\]//'
}

if [[ $file == *.a ]]; then
	ar t "$file" | sed 's/^/member /'
	symbols -s | awk '
		$5 != "GLOBAL" && $5 != "WEAK" { next }
		# Weak, all of them: a program may have its own.
		$7 != "UND" { print tolower($5) " " $4 " " $8; next }
		# Code for i386 and for powerpc64 names a table that every linker makes.
		$8 != "_GLOBAL_OFFSET_TABLE_" && $8 != ".TOC." { print ($5 == "WEAK" ? "weak " : "") "undefined " $8 }' | sort
	exit
fi

readelf -dW "$file" | sed -n \
	-e 's/.*(SONAME).*\[\(.*\)\]/soname \1/p' \
	-e 's/.*(NEEDED).*\[\(.*\)\]/needed \1/p' \
	-e 's/.*(R[UN]*PATH).*\[\(.*\)\]/search path \1/p' \
	-e 's/.*(TEXTREL).*/text relocations/p' \
	-e 's/.*(FLAGS).*BIND_NOW.*/bind now/p' \
	-e 's/.*(\(INIT\|INIT_ARRAY\|FINI\|FINI_ARRAY\)).*/code that runs on loading or unloading, by \1/p'
# A node's line carries its name; the line of its parent follows.
readelf -VW "$file" | awk '
	/^Version definition section/ { inside = 1 }
	/^Version needs section/ { inside = 0 }
	inside && /Flags: BASE/ { next }
	inside && / Name: / { if (node) print node; node = "node " $NF }
	inside && / Parent / { node = node " after " $NF }
	END { if (node) print node }'
# GNU ld also makes an absolute symbol of each node, lld does not.
symbols --dyn-syms | awk '
	$1 !~ /^[0-9]+:$/ || $1 == "0:" { next }
	$7 == "UND" { print ($5 == "WEAK" ? "weak " : "") "undefined " $8; next }
	$4 == "OBJECT" && $7 == "ABS" && $8 ~ /^LIBAIO_0\.[0-9](@@LIBAIO_0\.[0-9])?$/ { next }
	{ print tolower($5) " " $4 " " $8 }' | sort
echo "relocations $(readelf -rW "$file" | grep -cE '^[0-9a-f]{8,} ' || true)"
readelf -lW "$file" | awk '
	$1 == "GNU_RELRO" { print "relro" }
	$1 == "GNU_STACK" { print "stack " $7 }
	$1 == "LOAD" && / RWE / { print "writable code" }' | sort
