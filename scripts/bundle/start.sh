# What the programs of the bundle share. Sourced, never run. Sets home; checks the machine.

# In an empty environment, too.
PATH=${PATH:+$PATH:}/usr/bin:/bin
home=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
source "$home/lib/common.sh"
export JAVA_HOME=$home/runtime

check_machine() {
  local needed found
  needed=$(cat "$home/lib/glibc")
  found=$(getconf GNU_LIBC_VERSION 2>/dev/null) || found="another C library"
  [[ $(uname -sm) == "Linux x86_64" ]] || die 4 "runs on x86-64 Linux only; this is $(uname -sm)"
  [[ $(printf '%s\n' "$needed" "${found#glibc }" | sort -V | head -n 1) == "$needed" ]] ||
    die 4 "needs glibc $needed or newer; this machine has $found"
}

check_machine
