# Uses a volume as a user would: attach, make a file system, write with
# checksums, detach, attach again, read back, trim, check, detach. Called with
# one line a volume behind it: "use FS HOST PORT EXPORT" or
# "large HOST PORT EXPORT".
# Tools are called by their paths: busybox has some of the same names.
connections=4

now() { awk '{printf "%d\n", $1 * 1000}' /proc/uptime; }
step() { # step NAME COMMAND...: how long it took, in milliseconds
  name=$1; shift
  began=$(now)
  echo "== $name: $*"
  "$@"
  echo "@@ $name $(($(now) - began))"
}
attach() { # attach HOST PORT EXPORT
  /tools/nbd-client "$1" "$2" /dev/nbd0 -N "$3" -b 4096 -C "$connections"
  size=$(/tools/blockdev --getsize64 /dev/nbd0)
  [ "$size" -gt 0 ] || { echo "attached, but /dev/nbd0 has no size"; return 1; }
}
detach() { /tools/nbd-client -d /dev/nbd0; }
make_fs() {
  case $1 in
    ext4) /tools/mkfs.ext4 -q /dev/nbd0 ;;
    xfs) /tools/mkfs.xfs -q /dev/nbd0 ;;
    btrfs) /tools/mkfs.btrfs -q /dev/nbd0 ;;
  esac
}
check_fs() { # changes nothing, says whether all is clean
  case $1 in
    ext4) /tools/e2fsck -f -n /dev/nbd0 ;;
    xfs) /tools/xfs_repair -n /dev/nbd0 ;;
    btrfs) /tools/btrfs check --readonly /dev/nbd0 ;;
  esac
}
# load MODE: "--do_verify=0" writes, "--verify_only=1" reads back what was
# written before. Two jobs: buffered with an fsync now and then, and direct
# with many blocks in flight.
load() {
  /tools/fio --output-format=terse --directory=/mnt --verify=crc32c --verify_fatal=1 --rw=randwrite --randseed=7 "$1" \
    --name=buffered --ioengine=psync --bs=4k --size=4m --fsync=64 \
    --name=direct --stonewall --ioengine=libaio --direct=1 --iodepth=16 --bsrange=4k-64k --size=16m > /tmp/fio.out 2>&1 ||
    { cat /tmp/fio.out; return 1; }
}
trim() {
  /tools/fstrim -v /mnt | tee /tmp/trim
  # "/mnt: 1.2 GiB (1234 bytes) trimmed"
  bytes=$(sed 's/.*(\([0-9]*\) bytes.*/\1/' /tmp/trim)
  [ "$bytes" -gt 0 ] || { echo "nothing was trimmed"; return 1; }
}
use() { # use FS HOST PORT EXPORT
  fs=$1; shift
  step "$fs-attach" attach "$@"
  step "$fs-mkfs" make_fs "$fs"
  step "$fs-mount" mount -t "$fs" /dev/nbd0 /mnt
  step "$fs-write" load --do_verify=0
  step "$fs-umount" umount /mnt
  detach
  attach "$@"
  mount -t "$fs" /dev/nbd0 /mnt
  step "$fs-verify" load --verify_only=1
  rm /mnt/direct.0.0
  sync
  step "$fs-trim" trim
  umount /mnt
  step "$fs-check" check_fs "$fs"
  step "$fs-detach" detach
}
large() { # large HOST PORT EXPORT
  attach "$@"
  echo "@@ large-size $size"
  step large-mkfs make_fs ext4
  step large-mount mount -t ext4 /dev/nbd0 /mnt
  df -h /mnt
  umount /mnt
  detach
}
