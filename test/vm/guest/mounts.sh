# What a guest's init mounts. Sourced by main, after the settings.

mount_kernel_file_systems() {
  mount -t proc proc /proc
  umount -l /mnt
  mount --make-rshared /
  mount -t sysfs sysfs /sys
  mount -t devtmpfs devtmpfs /dev
  mkdir -p /dev/pts /dev/shm /dev/mqueue
  mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
  mount -t mqueue mqueue /dev/mqueue
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  mount -t debugfs debugfs /sys/kernel/debug
  ln -sfn /proc/self/fd /dev/fd
  ln -sfn /proc/self/fd/0 /dev/stdin
  ln -sfn /proc/self/fd/1 /dev/stdout
  ln -sfn /proc/self/fd/2 /dev/stderr
}

# /tmp and /run are empty in a guest. A checkout that lies below one of them must stay visible all the same.
mount_scratch_directories() {
  mount -t tmpfs tmpfs /dev/shm
  mkdir /mnt/kept
  mount --bind "$repository" /mnt/kept
  mount -t tmpfs -o mode=0755 tmpfs /run
  mount -t tmpfs -o mode=1777 tmpfs /tmp
  mkdir -p /run/lock "$repository"
  case $repository in
    /tmp/* | /run/*) mount --bind /mnt/kept "$repository" ;;
  esac
  umount -l /mnt/kept
  rmdir /mnt/kept
}

# mount_share TAG PATH: the host's PATH, writable, at the same place in the guest.
mount_share() {
  mkdir -p "$2"
  case $share_type in
    hostfs) mount -t hostfs -o "$2" none "$2" ;;
    9p) mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=none "$1" "$2" ;;
  esac
}
