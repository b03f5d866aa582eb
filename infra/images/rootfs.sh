# shellcheck shell=bash
# Makes container images out of this Debian's own packages, without any registry. Sourced after lib.sh by the scripts beside it.
# Packages are kept in artifacts/debs, so a second run needs no network.

DEBS="$ARTIFACTS/debs"

# fetch PACKAGE...: the packages' files lie in artifacts/debs afterwards.
fetch() {
  local package missing=()
  mkdir -p "$DEBS"
  for package in "$@"; do compgen -G "$DEBS/${package}_*.deb" >/dev/null || missing+=("$package"); done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  if ! (cd "$DEBS" && apt-get download -q "${missing[@]}") >"$LOGS/apt-download.log" 2>&1; then
    can_be_root || die "Could not download ${missing[*]}." "Run 'apt-get update' as root, then run this again."
    apt_update_once
    (cd "$DEBS" && run_logged apt-download apt-get download -q "${missing[@]}")
  fi
}

# closure PACKAGE...: these and all that they depend on, less what only package scripts and shells of people use.
closure() {
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$@" |
    grep -E '^[a-z0-9][a-z0-9.+-]*$' |
    grep -vE '^(adduser|passwd|debconf.*|cdebconf.*|dpkg|tar|base-passwd|lsb-base|sysvinit-utils|init-system-helpers|sensible-utils|login.*|netbase|perl.*|gcc-.*|debianutils|mawk|.*awk|openssl|e2fsprogs|ucf|install-info|readline-common|.*-dbg|util-linux.*|systemd.*|dbus.*|libsystemd-shared|logrotate|cron.*|anacron|mail.*|exim.*|bsd-mailx|popt.*)$' |
    grep -vE '^(usrmerge|usr-is-merged|lib.*-perl|libmpfr6|libsigsegv2)$' |
    grep -vE '^lib(perl|pam|elogind|newt|slang|.*debian-installer|textwrap|readline|semanage|sepol|audit|gdbm|db5|db-|debconf|locale-gettext|text-.*-perl|crypt-.*-perl|smartcols|blkid|mount|fdisk|ext2fs|com-err2|ss2|uuid1|util-linux)' |
    sort -u
}

# unpack ROOTFS PACKAGE...: files only, no package scripts.
unpack() {
  local rootfs="$1" package
  shift
  mkdir -p "$rootfs"
  for package in "$@"; do dpkg-deb --fsys-tarfile "$DEBS/${package}"_*.deb | tar -x -C "$rootfs" --keep-directory-symlink; done
  rm -rf "$rootfs"/usr/share/{doc,man,locale,lintian,bash-completion,initramfs-tools,info,locales,i18n}
}

# skeleton ROOTFS: the merged-usr links, accounts and folders every image has.
skeleton() {
  local rootfs="$1" folder
  mkdir -p "$rootfs"/usr/{bin,sbin,lib,local/bin,local/sbin} "$rootfs"/{etc,proc,sys,dev,run,root,tmp,var/tmp}
  chmod 1777 "$rootfs/tmp" "$rootfs/var/tmp"
  for folder in bin sbin lib; do ln -sfn "usr/$folder" "$rootfs/$folder"; done
  mkdir -p "$rootfs/usr/lib64"
  ln -sfn usr/lib64 "$rootfs/lib64"
  printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'nobody:x:65534:65534:nobody:/:/bin/false' >"$rootfs/etc/passwd"
  printf '%s\n' 'root:x:0:' 'nogroup:x:65534:' >"$rootfs/etc/group"
  echo 'hosts: files dns' >"$rootfs/etc/nsswitch.conf"
}

# account ROOTFS NAME NUMBER HOME: a user and a group of that name.
account() {
  printf '%s:x:%s:%s::%s:/bin/sh\n' "$2" "$3" "$3" "$4" >>"$1/etc/passwd"
  printf '%s:x:%s:\n' "$2" "$3" >>"$1/etc/group"
}

link_applets() {
  local rootfs="$1" applet
  for applet in $("$rootfs/bin/busybox" --list); do
    [[ -e "$rootfs/bin/$applet" || -L "$rootfs/bin/$applet" || -e "$rootfs/sbin/$applet" ]] || ln -s busybox "$rootfs/bin/$applet"
  done
}

# The search path of every image made here.
IMAGE_PATH='ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

# import ROOTFS IMAGE CHANGE...: one layer, with the given settings. Everything belongs to root.
import() {
  local rootfs="$1" image="$2" change changes=()
  shift 2
  for change in "$@"; do changes+=(--change "$change"); done
  tar --numeric-owner --owner=0 --group=0 -C "$rootfs" -c . | docker import "${changes[@]}" - "$image" >/dev/null
  ok "$image"
}
