#!/usr/bin/env bash
# Runs make targets one after another, all of them even if one fails, and ends
# with a table of what was run, how it went and how long it took:
#
#   steps.sh TARGET...
set -uo pipefail

make=${MAKE:-make}
table=() failed=0 begin=$SECONDS
for target in "$@"; do
	echo "==> $target"
	start=$SECONDS result=ok
	if ! $make --no-print-directory "$target"; then
		result=FAILED
		failed=1
	fi
	table+=("$(printf '    %-12s %-7s %4d s' "$target" "$result" $((SECONDS - start)))")
	echo "${table[-1]}"
	echo
done
echo "==> what was run"
printf '%s\n' "${table[@]}"
printf '    %-12s %-7s %4d s\n' together "$([ $failed = 0 ] && echo ok || echo FAILED)" $((SECONDS - begin))
exit $failed
