#!/usr/bin/env bash
# A C loop, and fio, on the distribution's libaio and on these libraries, in turns: processor time
# of an operation of the loop, operations of fio a second, and the median of the pairs' ratios.
#   compare.sh DIRECTORY-OF-THE-LIBRARIES [PAIRS-OF-FIO]
# Reads /dev/zero, and as root also /dev/zram0 where nobody uses it: it is set up, and reset
# afterwards.
set -euo pipefail
export LC_ALL=C

libraries=$(cd "$1" && pwd)
pairs=${2:-7}
tests=$(cd "$(dirname "$0")" && pwd)
theirs=$(ldconfig -p | sed -n 's/.*libaio\.so\.1\(t64\)\? .*=> //p' | head -n 1)
[[ -n $theirs ]] || { echo 'SKIPPED: no libaio (Debian: apt-get install libaio1)'; exit 77; }

"${CC:-cc}" -std=c99 -O2 -Wall -I"$tests/../include" "$tests/c/loop.c" -o "$libraries/loop" -ldl
echo '| processor time of an operation | libaio | these | ratio |'
echo '|---|---|---|---|'
"$libraries/loop" "$theirs" "$libraries/libaio.so.1"
echo

command -v fio >/dev/null || { echo 'SKIPPED: no fio (Debian: apt-get install fio)'; exit 77; }

# rate LIBRARIES ARGUMENTS...: of the distribution's, if LIBRARIES is empty
rate() {
	local ours=$1
	shift
	LD_LIBRARY_PATH=$ours fio --name=x --ioengine=libaio --rw=randread --time_based --runtime=1 \
		--size=64m --norandommap \
		--randrepeat=0 --output-format=terse --terse-version=3 "$@" | awk -F';' 'NF > 50 { print $8 }'
}

median() {
	sort -n | awk \
		'{ value[NR] = $1 } END { print NR % 2 ? value[(NR + 1) / 2] : (value[NR / 2] + value[NR / 2 + 1]) / 2 }'
}

# compare NAME ARGUMENTS...
compare() {
	local name=$1 i theirs ours rows=
	shift
	for ((i = 0; i < pairs; i++)); do
		# Who goes first changes.
		if ((i % 2)); then
			theirs=$(rate '' "$@")
			ours=$(rate "$libraries" "$@")
		else
			ours=$(rate "$libraries" "$@")
			theirs=$(rate '' "$@")
		fi
		rows+="$theirs $ours"$'\n'
	done
	printf '| %s | %.0f | %.0f | %.3f |\n' "$name" "$(awk 'NF { print $1 }' <<<"$rows" | median)" \
		"$(awk 'NF { print $2 }' <<<"$rows" | median)" "$(awk 'NF { print $2 / $1 }' <<<"$rows" | median)"
}

# all NAME ARGUMENTS...
all() {
	local name=$1
	shift
	compare "$name, depth 1" "$@" --iodepth=1
	compare "$name, depth 32" "$@" --iodepth=32
	compare "$name, depth 32 in batches of 8" "$@" --iodepth=32 --iodepth_batch_submit=8 \
		--iodepth_batch_complete_min=8 \
		--iodepth_batch_complete_max=32
}

echo '| operations a second | libaio | these | ratio |'
echo '|---|---|---|---|'
all '/dev/zero 512 B' --filename=/dev/zero --bs=512

zram=/sys/block/zram0
if [[ ! -w $zram/disksize ]]; then
	echo 'SKIPPED /dev/zram0: it is not there, or this is not root' >&2
elif [[ $(<"$zram/disksize") != 0 ]]; then
	echo 'SKIPPED /dev/zram0: it is in use' >&2
else
	trap 'echo 1 >"$zram/reset"' EXIT
	echo 128M >"$zram/disksize"
	dd if=/dev/urandom of=/dev/zram0 bs=1M count=64 oflag=direct status=none
	all 'zram 4 KiB' --filename=/dev/zram0 --bs=4k --direct=1
fi
