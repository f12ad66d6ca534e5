# What building and running needs: JDK 25, CMake, make, a C++ compiler. Sourced, never run.
#
#   find_jdk              exports JAVA_HOME of a JDK 25 or newer; fails if there is none
#   require_toolchain     the same for everything a build needs; as root it installs what is missing,
#                         otherwise it says how to and exits with code 4
#   require_packages P…   Debian packages that a step needs beyond that
#   find_cuda_compiler    sets cuda_compiler, an nvcc or scripts/nvrtc_fatbin, which a build can do without; fails if there
#                         is none
#   run_maven ARG…        Maven without a terminal, in the current folder

source "${BASH_SOURCE[0]%/*}/common.sh"

jdk_minimum=25
cmake_minimum=3.25

# The major version of the JDK in a folder, from its release file: starting it would cost 40 ms.
jdk_version() {
  local line
  [[ -x $1/bin/java && -x $1/bin/javac && -r $1/release ]] || return 1
  while read -r line; do
    if [[ $line =~ ^JAVA_VERSION=\"([0-9]+) ]]; then
      echo "${BASH_REMATCH[1]}"
      return
    fi
  done <"$1/release"
  return 1
}

find_jdk() {
  local home version javac
  javac=$(type -P javac) && javac=$(readlink -f "$javac")
  for home in "${JAVA_HOME:-}" "${javac%/bin/javac}" /usr/lib/jvm/* /opt/* \
    "${HOME:-}"/.sdkman/candidates/java/* "${HOME:-}"/.jdks/*; do
    if version=$(jdk_version "$home") && ((version >= jdk_minimum)); then
      export JAVA_HOME=$home
      return
    fi
  done
  return 1
}

# True if CMake is there and new enough.
has_cmake() {
  local version
  version=$(cmake --version 2>/dev/null) && [[ $version =~ ([0-9]+\.[0-9]+)(\.[0-9]+)? ]] &&
    [[ $(printf '%s\n' "$cmake_minimum" "${BASH_REMATCH[1]}" | sort -V | head -n 1) == "$cmake_minimum" ]]
}

has_compiler() {
  local name
  for name in ${CXX:+"$CXX"} c++ g++ clang++; do
    type -P "$name" >/dev/null && return
  done
  return 1
}

# One Debian package a line.
missing_tools() {
  has_cmake || echo cmake
  type -P make >/dev/null || echo make
  has_compiler || echo g++
  { type -P mvn || type -P unzip; } >/dev/null || echo unzip # for the Maven that mvnw fetches
}

apt_update() {
  say "reading the package lists with apt-get update"
  apt-get update -qq >&2 || die 4 "apt-get update failed"
}

apt_install() {
  say "installing $* with apt-get"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" \
    >/dev/null </dev/null || die 4 "apt-get could not install $*"
}

require_toolchain() {
  local missing can_install=false jdk_package=openjdk-$jdk_minimum-jdk-headless
  mapfile -t missing < <(missing_tools)
  if find_jdk && ((${#missing[@]} == 0)); then
    return
  fi

  if ! type -P apt-get >/dev/null; then
    find_jdk || missing=("JDK $jdk_minimum" "${missing[@]}")
    die 4 "missing: ${missing[*]}. Needed are JDK $jdk_minimum or newer, CMake $cmake_minimum or" \
      "newer, make and a C++ compiler; install them with this system's package manager"
  fi
  if ((EUID == 0)); then
    can_install=true
    apt_update
  fi
  if ! find_jdk; then
    # The distribution may not have it (Debian 12 does not); nothing is installed then.
    if [[ -z $(apt-cache --quiet show "$jdk_package" 2>/dev/null) ]]; then
      die 4 "needs JDK $jdk_minimum or newer, which this distribution does not package. Get one from" \
        "https://adoptium.net/temurin/releases/?version=$jdk_minimum, unpack it into /opt," \
        "or point at it: export JAVA_HOME=/path/to/jdk"
    fi
    missing+=("$jdk_package")
  fi
  $can_install ||
    die 4 "missing: ${missing[*]}. Run: sudo apt-get install -y ${missing[*]}"
  apt_install "${missing[@]}"

  mapfile -t missing < <(missing_tools)
  find_jdk || missing+=("$jdk_package")
  ((${#missing[@]} == 0)) ||
    die 4 "still missing or too old: ${missing[*]} (CMake must be $cmake_minimum or newer)"
}

require_packages() {
  local package missing=()
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
      missing+=("$package")
  done
  ((${#missing[@]} == 0)) && return
  ((EUID == 0)) || die 4 "missing: ${missing[*]}. Run: sudo apt-get install -y ${missing[*]}"
  apt_update
  apt_install "${missing[@]}"
}

# In the order of preference: what the user names (LACO_NVCC=none builds without), what scripts/cuda_toolchain installs,
# whose kernels run on every driver from 525 on, the nvcc in PATH, and that of a toolkit's folder.
find_cuda_compiler() {
  local folder named=${LACO_NVCC:-${CUDACXX:-}} scripts=${BASH_SOURCE[0]%/*}
  if [[ -n $named ]]; then
    [[ $named != none ]] || return 1
    cuda_compiler=$(type -P "$named") || die 4 "$named, named by LACO_NVCC or CUDACXX, is no program"
    return
  fi
  cuda_compiler=$scripts/nvrtc_fatbin
  [[ ! -e $scripts/../target/cuda/nvidia ]] || return 0
  cuda_compiler=$(type -P nvcc) && return
  # Looked for at every start of an engine without CUDA kernels: no process for each folder.
  for folder in "${CUDA_HOME:-}" "${CUDA_PATH:-}" "${CUDAToolkit_ROOT:-}" /usr/local/cuda /opt/cuda; do
    cuda_compiler=$folder/bin/nvcc
    [[ -z $folder || ! -f $cuda_compiler || ! -x $cuda_compiler ]] || return 0
  done
  return 1
}

# The system's Maven; without one the project's wrapper, which fetches a pinned Maven. The options silence warnings of
# JDK 25 about what Maven 3.8 calls, and spare what does not pay in so short a run: optimising the compilers' code, which
# takes as long as all the rest of the run, and collecting garbage with several threads.
run_maven() {
  local maven
  maven=$(type -P mvn) || maven=$(dirname "${BASH_SOURCE[0]}")/../mvnw
  MAVEN_OPTS="--enable-native-access=ALL-UNNAMED --sun-misc-unsafe-memory-access=allow \
    -XX:TieredStopAtLevel=1 -XX:+UseSerialGC ${MAVEN_OPTS:-}" \
    "$maven" --batch-mode --no-transfer-progress "$@" </dev/null
}
