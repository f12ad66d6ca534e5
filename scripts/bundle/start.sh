# What the programs of the bundle share. Sourced, never run. Sets home; checks the machine.

home=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
source "$home/lib/common.sh"

check_machine() {
  local needed found
  needed=$(cat "$home/lib/glibc")
  found=$(getconf GNU_LIBC_VERSION 2>/dev/null) || found="another C library"
  [[ $(uname -sm) == "Linux x86_64" ]] || die 4 "runs on x86-64 Linux only; this is $(uname -sm)"
  [[ $(printf '%s\n' "$needed" "${found#glibc }" | sort -V | head -n 1) == "$needed" ]] ||
    die 4 "needs glibc $needed or newer; this machine has $found"
}

# Java takes a colon in the path of its own folder, and in that of a jar, for the end of the path: then all runs from a
# private copy, of links where the file system allows it, which goes when this process, by then Java's, has ended.
leave_colons_behind() {
  local copy
  copy=$(mktemp -d "$temporary/laco.XXXXXXXXXX") || die 4 "no folder can be made in $temporary"
  [[ $copy != *:* ]] || die 4 "Java runs neither from $home nor from $temporary: each has a colon in its path"
  (tail --pid=$$ -f /dev/null; rm -rf -- "$copy") </dev/null >/dev/null 2>&1 &
  cp -al "$home" "$copy/laco" 2>/dev/null || { rm -rf "$copy/laco" && cp -a "$home" "$copy/laco"; } ||
    die 4 "$home has a colon in its path, which Java does not run from, and cannot be copied to $copy"
  home=$copy/laco
}

check_machine
archive=$home # where the user unpacked it
[[ $home != *:* ]] || leave_colons_behind
export JAVA_HOME=$home/runtime
