# The guest's side of one run. Sourced by main, after the settings.

load_modules() {
  [ -n "$modules" ] || return 0
  local release
  release=$(uname -r)
  mkdir -p /lib/modules
  rm -rf "/lib/modules/$release"
  ln -s "$modules/$release" "/lib/modules/$release"
  make_static_nodes "$modules/$release/modules.devname"
  # Missing in kernels without ublk, where a test wants to see just that.
  modprobe -q ublk_drv
}

# Nodes such as /dev/loop-control that load their module when they are opened. A distribution's boot makes them too.
make_static_nodes() {
  local module name number
  while read -r module name number; do
    [[ $number =~ ^c([0-9]+):([0-9]+)$ ]] && [ ! -e "/dev/$name" ] || continue
    mkdir -p "$(dirname "/dev/$name")"
    mknod "/dev/$name" c "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
  done < "$1"
}

prepare_system() {
  echo vm > /proc/sys/kernel/hostname
  ip link set lo up
  ulimit -c 0
}

start_udev() {
  /lib/systemd/systemd-udevd --daemon
  udevadm trigger --type=subsystems --action=add
  udevadm trigger --type=devices --action=add
  udevadm settle
}

read_list() { mapfile -d '' -t "$2" < "$vm_exchange/$1"; }

# The exit code goes to the host last: it ends the run.
report_exit_code() {
  [ -z "$out" ] || sync -f "$out"
  echo "$1" > "$results/exit-code.new"
  sync -f "$results"
  mv "$results/exit-code.new" "$results/exit-code"
}

# Everything the command prints goes through a pipe, so that it sees no terminal, into the raw output port.
run_command() {
  local environment command relay
  read_list environment environment && read_list command command || return
  output_port=$(compgen -G "$output_port") || return
  [ "$share_type" != hostfs ] || stty -F "$output_port" raw -echo
  mkfifo /run/output
  cat /run/output > "$output_port" &
  relay=$!
  echo "vm: the command starts" > /dev/kmsg
  touch "$results/started"
  "$guest/watchdog" "$timeout_s" "$results" > /run/output &
  (cd "$working_directory" && exec env -i "${environment[@]}" "${command[@]}") > /run/output 2>&1
  local exit_code=$?
  drain_output "$relay"
  report_exit_code "$exit_code"
}

# A daemon that the command left behind may hold the pipe for ever: what is in it by now has had time to pass.
drain_output() {
  local round
  kill "$(cat /run/watchdog.pid)"
  for round in $(seq 40); do
    kill -0 "$1" 2> /dev/null || break
    sleep 0.05
  done
  [ "$share_type" != hostfs ] || stty -F "$output_port" raw
}

# Without a sync: a test may leave a hung block device behind.
power_off() {
  while :; do
    busybox poweroff -n -f
    sleep 1
  done
}
