#!/usr/bin/env bash
# MariaDB on these libraries, killed while it writes, again and again: each time its tables are
# whole, and all that it had acknowledged is there.
#   mariadb.sh DIRECTORY-OF-THE-LIBRARIES [KILLS]
# It wants a mariadbd that was linked with libaio, which MARIADBD names if the one in PATH was not.
# Debian 11 has one with libaio. Debian 12 has one with both, since 10.11.19 at the latest: it is
# shown a kernel without io_uring.
set -uo pipefail
export LC_ALL=C

libraries=$(cd "$1" && pwd) || exit 1
tests=$(cd "$(dirname "$0")" && pwd) || exit 1
kills=${2:-10}
server=${MARIADBD:-$(command -v mariadbd)}
client=${MARIADB:-$(command -v mariadb)}

skip() {
	echo "SKIPPED MariaDB: $1"
	exit 0
}

[[ -n $server && -n $client ]] || skip \
    'no mariadbd and mariadb (Debian: apt-get install mariadb-server)'
soname=$(readelf -dW "$server" | sed -n 's/.*(NEEDED).*\[\(libaio[^]]*\)\].*/\1/p')
[[ -n $soname ]] || skip \
    "$server was not linked with libaio; MARIADBD=, MARIADB= and LD_LIBRARY_PATH= name another one"
[[ -e $libraries/$soname ]] || skip "$server loads $soname"

# Not in /tmp, which may be a tmpfs without O_DIRECT.
work=$(mktemp -d "$libraries/mariadb.XXXXXX") || exit 1
pid=
end() {
	[[ -z $pid ]] || kill -9 "$pid" 2>/dev/null
	wait
	rm -rf "$work"
}
trap end EXIT
cd "$work" || exit 1
mkdir data
${CC:-cc} -O2 "$tests/c/without_io_uring.c" -o without_io_uring || exit 1

fail() {
	echo "FAILED  MariaDB: $1"
	tail -n 40 log | sed 's/^/        /'
	exit 1
}

ask() {
	"$client" --no-defaults --socket="$work/socket" --batch --skip-column-names test -e "$1" 2>>answers
}

# Starts it, and waits until it answers: after a kill that is once it has recovered.
start() {
	local patience
	LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} ./without_io_uring "$server" \
		--no-defaults \
		--user="$(id -un)" --datadir="$work/data" --socket="$work/socket" --pid-file="$work/pid" \
			--skip-networking \
		--skip-grant-tables --innodb-use-native-aio=1 --innodb-flush-method=O_DIRECT \
			--innodb-buffer-pool-size=8M \
		--innodb-log-file-size=8M --innodb-flush-log-at-trx-commit=1 --innodb-fast-shutdown=0 >>log 2>&1 &
	pid=$!
	for ((patience = 0; patience < 3000; patience++)); do
		kill -0 "$pid" 2>/dev/null || fail 'it ended by itself'
		[[ $("$client" --no-defaults --socket="$work/socket" -BNe 'SELECT 1' 2>/dev/null) == 1 ]] && break
		sleep 0.1
	done
	grep -q "$libraries/libaio.so.1" "/proc/$pid/maps" || fail 'it did not load this library'
	grep -qF '/[aio]' "/proc/$pid/maps" || fail 'it made no context'
	[[ $("$client" --no-defaults --socket="$work/socket" -BNe 'SELECT @@innodb_use_native_aio' 2>&1) \
		== 1 ]] ||
		fail 'it does not use native AIO'
}

# write TABLE FIRST: rows from FIRST on; what was acknowledged is in acknowledged.TABLE. Ends with
# the server.
write() {
	local row
	for ((row = $2; ; row++)); do
		echo "INSERT INTO t$1 VALUES ($row, REPEAT(SHA2($row, 512), 12), CRC32(REPEAT(SHA2($row, 512), 12)));"
		echo "UPDATE t$1 SET content = REVERSE(content), sum = CRC32(content) WHERE id = 1 + ($row * 7919) % $row;"
		echo "SELECT $row;"
	done | "$client" --no-defaults --socket="$work/socket" --batch --skip-column-names --unbuffered \
		test \
		>"acknowledged.$1" 2>/dev/null
}

# The rows of a table are 1 to the last one, none is missing or wrong, and all that were
# acknowledged are there.
check_table() {
	local table=$1 acknowledged last answer
	acknowledged=$(grep -E '^[0-9]+$' "acknowledged.$table" | tail -n 1)
	answer=$(ask "CHECK TABLE t$table EXTENDED") || fail "CHECK TABLE t$table: $(tail -n 1 answers)"
	[[ $answer == *$'\tcheck\tstatus\tOK' ]] || fail "CHECK TABLE t$table: $answer"
	last=$(ask "SELECT COALESCE(MAX(id), 0) FROM t$table") || fail "t$table: $(tail -n 1 answers)"
	answer=$(ask "SELECT COUNT(*), COALESCE(SUM(CRC32(content) = sum), 0) FROM t$table")
	[[ $answer == "$last"$'\t'"$last" ]] || fail \
		"t$table has rows up to $last; count and right ones are $answer"
	((last >= ${acknowledged:-0})) || fail "t$table: $acknowledged was acknowledged, $last is the last"
	rows[table]=$last
}

tables=(0 1 2)
rows=()
start
"$client" --no-defaults --socket="$work/socket" -e 'CREATE DATABASE test' || fail 'CREATE DATABASE'
for table in "${tables[@]}"; do
	ask "CREATE TABLE t$table (id INT PRIMARY KEY, content VARCHAR(4000), sum BIGINT, KEY (sum)) ENGINE=InnoDB" ||
		fail "CREATE TABLE: $(tail -n 1 answers)"
	rows[table]=0
done
for ((round = 1; round <= kills; round++)); do
	writers=()
	for table in "${tables[@]}"; do
		: >"acknowledged.$table"
		write "$table" $((rows[table] + 1)) &
		writers+=($!)
	done
	# At any moment, but after some rows.
	until [[ $(grep -c . acknowledged.0) -gt 20 ]]; do
		kill -0 "$pid" 2>/dev/null || fail 'it ended by itself'
		sleep 0.1
	done
	sleep "$((RANDOM % 3)).$((RANDOM % 10))"
	kill -9 "$pid"
	wait "$pid" "${writers[@]}" 2>/dev/null
	pid=
	start
	for table in "${tables[@]}"; do
		check_table "$table"
	done
	echo "kill $round: rows ${rows[*]}"
done
kill "$pid"
wait "$pid" || fail 'it did not shut down'
pid=
echo "passed  MariaDB: $("$server" --version | sed 's/.* Ver \([^ ]*\).*/\1/'), $kills kills, ${rows[*]} rows"
