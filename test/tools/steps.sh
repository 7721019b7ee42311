#!/usr/bin/env bash
# Runs make targets one after another, all of them even if one fails, and ends
# with the slowest tests and a table of what was run, how it went and how long it
# took:
#
#   steps.sh TARGET...
#
# Targets joined by + run side by side; each prints what it says when it has ended.
# test/report notes the tests' times in the file $WEFT_TIMES.
set -uo pipefail

make=${MAKE:-make}
table=() pids=() failed=0 begin=$SECONDS
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'kill -- "${pids[@]/#/-}" 2>/dev/null; exit 130' INT TERM
export WEFT_TIMES=$dir/times

# run TARGET FILE leaves in the file how it went and how long it took.
run() {
	local start=$SECONDS result=ok
	$make --no-print-directory "$1" || result=FAILED
	echo "$result $((SECONDS - start))" >"$2"
}

# tell TARGET FILE takes what run has left there into the table.
tell() {
	local result took
	read -r result took <"$2"
	[ "$result" = ok ] || failed=1
	table+=("$(printf '    %-12s %-7s %4d s' "$1" "$result" "$took")")
	echo "${table[-1]}"
	echo
}

for stage in "$@"; do
	IFS=+ read -r -a targets <<<"$stage"
	if [ ${#targets[@]} = 1 ]; then
		echo "==> $stage"
		run "$stage" "$dir/end"
		tell "$stage" "$dir/end"
		continue
	fi
	echo "==> ${targets[*]}, side by side"
	pids=()
	set -m # groups of their own, which an interrupt of this script has to end
	for target in "${targets[@]}"; do
		run "$target" "$dir/end-$target" >"$dir/$target" 2>&1 &
		pids+=($!)
	done
	set +m
	for i in "${!targets[@]}"; do
		wait "${pids[i]}"
		echo "==> ${targets[i]}"
		cat "$dir/${targets[i]}"
		tell "${targets[i]}" "$dir/end-${targets[i]}"
	done
done
if [ -s "$WEFT_TIMES" ]; then
	echo "==> the slowest tests"
	sort -rn "$WEFT_TIMES" | head -n 10 | awk '{ printf "    %7.1f s  %s %s\n", $1, $2, $3 }'
	echo
fi
echo "==> what was run"
printf '%s\n' "${table[@]}"
printf '    %-12s %-7s %4d s\n' together "$([ $failed = 0 ] && echo ok || echo FAILED)" $((SECONDS - begin))
exit $failed
