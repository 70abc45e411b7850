#!/usr/bin/env bash
# io_submit and io_cancel reach the kernel in at most four instructions, the one that enters it
# included.
#   instructions.sh FILE    a shared or static library for x86-64
set -euo pipefail
export LC_ALL=C
for function in io_submit io_cancel; do
	# The default version alone: the old one of io_cancel has a line of its own.
	body=$(objdump -d --no-show-raw-insn "$1" | awk -v name="$function" '
		/^[0-9a-f]+ <.*>:$/ { inside = $2 == "<" name ">:" || index($2, "<" name "@@") == 1; next }
		inside && !reached && NF { sub(/^[^:]*:[ \t]*/, ""); print }
		inside && /syscall/ { reached = 1 }')
	count=$(grep -c . <<<"$body")
	if [[ $(tail -n 1 <<<"$body") != syscall* || $count -gt 4 ]]; then
		printf '%s: %s instructions to the system call in %s:\n%s\n' "$function" "$count" "$1" "$body"
		exit 1
	fi
done
