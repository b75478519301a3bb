# Shared by the csi-sanity runs. Needs: repository (the checkout's absolute path), scripts/lib/log.sh.

sanity_program=$repository/.cache/tools/bin/csi-sanity

# Fetched once, by the project's own tool script.
sanity_install() {
  [ -x "$sanity_program" ] || "$repository/scripts/install-tool" csi-sanity
}

# wait_for_socket PATH PID SECONDS: until the driver with this pid serves the socket, or fail when it exits first.
wait_for_socket() {
  local deadline=$((SECONDS + $3))
  until [ -S "$1" ]; do
    kill -0 "$2" 2> /dev/null || die "the driver exited before it served $1"
    [ "$SECONDS" -lt "$deadline" ] || die "the driver did not serve $1 within $3 s"
    sleep 0.1
  done
}

# One case of csi-sanity 5.6.0 can pass only without the field that it tests: it compares a message that was sent, which
# caches its size, with one that was received, which does not. src/driver.test.ts tests the same.
sanity_skipped='should succeed when creating a snapshot with accessibility requirements'

# run_sanity NAME SOCKET SCRATCH RESULTS [FLAG...]: one run; prints csi-sanity's summary, keeps its log and junit file.
run_sanity() {
  local name=$1 socket=$2 scratch=$3 results=$4
  shift 4
  mkdir -p "$results" "$scratch"
  printf '%s\n' "csi-sanity $name" >&2
  printf 'iops: "1000"\nbandwidth: 200Mi\n' > "$scratch/mutable-parameters.yaml"
  local log=$results/sanity-$name.log status=0
  "$sanity_program" --csi.endpoint "unix://$socket" --csi.mountdir "$scratch/mount" --csi.stagingdir "$scratch/staging" \
    --csi.testvolumesize 67108864 --csi.testvolumeexpandsize 134217728 \
    --csi.testvolumemutableparameters "$scratch/mutable-parameters.yaml" --ginkgo.skip "$sanity_skipped" \
    --ginkgo.no-color --ginkgo.junit-report "$results/sanity-$name.xml" "$@" > "$log" 2>&1 || status=$?
  grep -E '^(Ran |SUCCESS!|FAIL!)|^ *\[FAIL\]' "$log" || tail -n 20 "$log"
  [ "$status" -eq 0 ] || say "csi-sanity $name failed; its log is $log"
  return "$status"
}
