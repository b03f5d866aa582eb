#!/usr/bin/env bash
# Compiles pause.c (x86-64 Linux, any gcc) and puts it where the node agent embeds it. Run it after a change of pause.c; commit both.
set -euo pipefail
cd "$(dirname "$0")"
out=../../../src/OrleansCluster.Kubelet/Images/pause-linux-amd64
gcc -Os -static -nostdlib -ffreestanding -fno-pic -no-pie -fno-asynchronous-unwind-tables -fno-stack-protector -fomit-frame-pointer \
  -Wall -Wextra -Wl,--build-id=none,-z,noseparate-code,-z,norelro,-z,noexecstack,--gc-sections -s pause.c -o "$out"
objcopy --remove-section=.comment --remove-section=.note.gnu.property "$out"
chmod 0755 "$out"
ls -l "$out"
