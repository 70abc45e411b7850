#!/usr/bin/env bash
# Programs that nobody recompiled, on these libraries: fio, sysbench, stress-ng, and those of QEMU
# and of thin provisioning, all of the distribution.
#   programs.sh DIRECTORY-OF-THE-LIBRARIES
# Debian: apt-get install fio qemu-utils stress-ng sysbench thin-provisioning-tools. A program that
# is not there, or that wants other libraries, is skipped, with the reason; the last line counts.
set -uo pipefail
export LC_ALL=C

libraries=$(cd "$1" && pwd) || exit 1
# Not in /tmp, which may be a tmpfs without O_DIRECT.
work=$(mktemp -d "$libraries/programs.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
passed=0 failed=0 skipped=0

pass() {
	echo "passed  $1"
	passed=$((passed + 1))
}

fail() {
	echo "FAILED  $1"
	sed 's/^/        /' output | tail -n 40
	failed=$((failed + 1))
}

skip() {
	echo "SKIPPED $1: $2"
	skipped=$((skipped + 1))
}

# suitable NAME PROGRAM PACKAGE: whether the program is there and loads one of our libraries.
suitable() {
	local path soname
	path=$(command -v "$2") || { skip "$1" "no $2 (Debian: apt-get install $3)"; return 1; }
	soname=$(readelf -dW "$path" | sed -n 's/.*(NEEDED).*\[\(libaio[^]]*\)\].*/\1/p')
	[[ -n $soname && -e $libraries/$soname ]] || { skip "$1" "$path loads ${soname:-no libaio}"; \
		return 1; }
}

# on_ours COMMAND...: runs it on our libraries; what it printed is in `output`, what was bound to
# what in `bindings`.
on_ours() {
	rm -f bindings bindings.* output
	LD_LIBRARY_PATH=$libraries LD_DEBUG=bindings LD_DEBUG_OUTPUT=$work/bindings LD_BIND_NOW=1 "$@" \
		>output 2>&1 || return 1
	cat bindings.* >bindings
}

# all_ours PROGRAM: every function of libaio that the program imports was bound to our library, and
# none to another.
all_ours() {
	local name imports
	imports=$(readelf --dyn-syms -W "$(command -v "$1")" |
		sed -n 's/.* UND \(io_[a-z_]*\)@LIBAIO_.*/\1/p')
	grep -E 'symbol .io_[a-z_]*.( |$)' bindings | grep LIBAIO | sed 's/^ *[0-9]*:[ \t]*//' |
		sort -u >aio_bindings
	if grep -v " to $libraries/libaio\.so\.1" aio_bindings >>output; then
		echo 'these were bound elsewhere' >>output
		return 1
	fi
	for name in io_submit $imports; do
		grep -q "symbol .$name' \[LIBAIO_0\.[0-9]\]" aio_bindings ||
			{ echo "$name was not bound" >>output; return 1; }
	done
}

has_direct() {
	dd if=/dev/zero of=direct bs=4096 count=1 oflag=direct 2>/dev/null
}

direct=1
has_direct || { direct=0; echo \
    "note: the file system of $libraries has no O_DIRECT: operations will finish inside io_submit"; }

name='fio: 4 KiB random writes, depth 32, crc32c verified'
if suitable "$name" fio fio; then
	if on_ours fio --name=verify --ioengine=libaio --rw=randwrite --bs=4k --size=32m --iodepth=32 \
		--direct=$direct \
		--verify=crc32c --do_verify=1 --verify_fatal=1 --filename=fio.data --output-format=normal &&
		grep -q 'err= 0' output && grep -qE 'issued rwts: total=8192,8192,' output &&
		all_ours fio; then
		pass "$name"
	else
		fail "$name"
	fi
	name='fio: reads reaped in batches, with polls of the ring in user space'
	if on_ours fio --name=reap --ioengine=libaio --userspace_reap --rw=randread --bs=4k --size=32m \
		--iodepth=32 \
		--iodepth_batch_complete_min=4 --direct=$direct --filename=fio.data && grep -q 'err= 0' output &&
		grep -qE 'issued rwts: total=8192,0,' output && all_ours fio; then
		pass "$name"
	else
		fail "$name"
	fi
fi

name='qemu-img: bench with native AIO'
if suitable "$name" qemu-img qemu-utils; then
	truncate -s 64m disk.raw
	if on_ours qemu-img bench -n -t none -f raw -c 5000 -d 32 -s 4096 disk.raw &&
		grep -q '^Run completed' output &&
		all_ours qemu-img; then
		pass "$name"
	elif [[ $direct == 0 ]]; then
		skip "$name" "it wants O_DIRECT, and the file system of $libraries has none"
	else
		fail "$name"
	fi
fi

name='qemu-io: patterns written and read with native AIO'
if suitable "$name" qemu-io qemu-utils; then
	truncate -s 64m disk.raw
	if on_ours qemu-io -n -t none -f raw -c 'write -P 0xa5 0 1m' -c 'aio_write -P 0x5a 1m 4m' -c \
		'aio_write -P 0x3c 8m 64k' \
		-c aio_flush -c 'read -P 0xa5 0 1m' -c 'aio_read -P 0x5a 1m 4m' -c 'aio_read -P 0x3c 8m 64k' -c \
			aio_flush \
		-c 'read -P 0 5m 1m' disk.raw && ! grep -qiE 'fail|error' output &&
		[[ $(grep -c '^read .* bytes at offset' output) -eq 4 &&
			$(grep -c '^wrote .* bytes at offset' output) -eq 3 ]] &&
		all_ours qemu-io; then
		pass "$name"
	elif [[ $direct == 0 ]]; then
		skip "$name" "it wants O_DIRECT, and the file system of $libraries has none"
	else
		fail "$name"
	fi
	# A wrong pattern must be noticed, or the test above says nothing.
	name='qemu-io: a wrong pattern is noticed'
	if on_ours qemu-io -n -t none -f raw -c 'read -P 0xa6 0 4096' disk.raw; grep -q \
		'Pattern verification failed' output; then
		pass "$name"
	elif [[ $direct == 0 ]]; then
		skip "$name" "it wants O_DIRECT, and the file system of $libraries has none"
	else
		fail "$name"
	fi
fi

name='sysbench: 4,000 random reads and writes of four threads'
if suitable "$name" sysbench sysbench; then
	extra=()
	[[ $direct == 0 ]] || extra=(--file-extra-flags=direct)
	options=(--file-total-size=32m --file-num=4 --file-io-mode=async --file-test-mode=rndrw
		--file-block-size=4096 "${extra[@]}")
	if sysbench fileio "${options[@]}" prepare >output 2>&1 &&
		on_ours sysbench fileio "${options[@]}" --threads=4 --events=4000 --time=300 run &&
		grep -qE 'total number of events: +4[0-9]{3}$' output && ! grep -q FATAL output &&
		all_ours sysbench; then
		pass "$name"
	else
		fail "$name"
	fi
fi

# mappings: 20,000 of them, no two of which are a range.
mappings() {
	echo '<superblock uuid="" time="1" transaction="1" version="2" data_block_size="128"' \
		'nr_data_blocks="20000">'
	echo '  <device dev_id="1" mapped_blocks="20000" transaction="0" creation_time="0" snap_time="1">'
	awk 'BEGIN {
		for (i = 0; i < 20000; i++)
			printf "    <single_mapping origin_block=\"%d\" data_block=\"%d\" time=\"0\"/>\n", 2 * i, i
	}'
	printf '%s\n' '  </device>' '</superblock>'
}

name='thin_restore, thin_check, thin_dump: 20,000 mappings there and back'
if suitable "$name" thin_restore thin-provisioning-tools; then
	mappings >mappings.xml
	truncate -s 4m metadata
	if on_ours thin_restore -i mappings.xml -o metadata && all_ours thin_restore &&
		on_ours thin_check metadata && all_ours thin_check &&
		on_ours thin_dump metadata && all_ours thin_dump &&
		# The first line has one attribute more.
		diff <(tail -n +2 mappings.xml) <(tail -n +2 output) >difference; then
		pass "$name"
	else
		fail "$name"
	fi
fi

# Debian 12 does not link it with libaio: its aiol makes the system calls itself.
name='stress-ng: 2,000 operations of aiol, verified'
if suitable "$name" stress-ng stress-ng; then
	if on_ours stress-ng --aiol 2 --aiol-ops 2000 --verify --timeout 300 --metrics-brief \
		--temp-path "$work" && grep -q 'successful run completed' output &&
		grep -qE ' aiol +2000 ' output && all_ours stress-ng; then
		pass "$name"
	else
		fail "$name"
	fi
fi

echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed -eq 0 ]]
