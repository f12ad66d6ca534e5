# Builds the engine where that is needed and starts it. Sourced, never run.
#
#   build_if_changed NAME   builds engine, emulator or bench if that has not been done or its sources have changed
#   emulate                 sets java_options so that the CUDA device is the emulated one, which it builds
#   launch ARG…             becomes the engine; options for the JVM are in java_options

home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$home/scripts/toolchain.sh"
[[ $home != *:* ]] || die 4 "$home has a colon in its path, which make and Java take for the end of one; move it"

target=$home/target
cli=$home/cli/target
archive=$cli/laco-cli.aot # AOT cache, classes and profiles of their methods: a quicker start
fatbins=$target/native/cuda # what the build copies into the jar
emulator=$target/emulator
java_options=()

# is_fresh NAME PATH…: nothing under the paths has changed since NAME was built. A stamp is as old as the sources.
is_fresh() {
  [[ -f $target/$1.stamp && -z $(find "${@:2}" -newer "$target/$1.stamp" -print -quit) ]]
}

has_fatbins() {
  compgen -G "$fatbins/*/*.fatbin" >/dev/null
}

# What engine and command line are made of.
engine_sources=("$home"/{src/main,cuda,CMakeLists.txt,reactor.xml,pom.xml,cli/src/main,cli/pom.xml})

# maven_package PROJECT: builds the jars of a project and of those that it needs.
maven_package() {
  (cd "$home" && run_maven -q -f reactor.xml -pl ":$1" -am -DskipTests -Dspotless.check.skip package)
}

engine_is_built() {
  is_fresh engine "${engine_sources[@]}" && [[ -f $cli/laco-cli.jar ]] &&
    # Unless it has no CUDA kernels, and now there is a compiler of them.
    { has_fatbins || [[ ! -w $target ]] || ! find_cuda_compiler; }
}

package_engine() {
  maven_package laco-cli
}

# The AOT cache fits the jars that it was made of.
finish_engine() {
  rm -f "$archive"
  java_command "$cli/laco-cli.jar" -XX:AOTCacheOutput="$archive"
  # What a prune with a fit takes is most of what any command takes.
  "${command[@]}" dev.laco.cli.Main prune "$home/models/storyteller" --dry-run --device cpu --target-layers 15 \
    --fit-tokens 512 >/dev/null 2>&1 </dev/null || rm -f "$archive"
}

emulator_is_built() {
  is_fresh emulator "$home"/{src/test/native/emulator,cuda,bench/cuda,examples,CMakeLists.txt}
}

package_emulator() {
  cmake -S "$home" -B "$emulator" -DLACO_EMULATOR=ON &&
    cmake --build "$emulator" --target laco_emulator --parallel 2
}

finish_emulator() {
  true
}

emulate() {
  build_if_changed emulator
  java_options+=(-Dlaco.native.cuda="$emulator/libcuda.so.1" -Dlaco.native.cublas="$emulator/libcublas.so.13"
    -Dlaco.native.cusolver="$emulator/libcusolver.so.12" -Dlaco.native.nvml="$emulator/libnvidia-ml.so.1")
  has_fatbins || java_options+=(-Dlaco.cuda.images="$emulator/images")
  say "the CUDA device is emulated on the CPU; this is no measure of speed"
}

bench_is_built() {
  is_fresh bench "${engine_sources[@]}" "$home"/bench/{src,cuda,pom.xml} &&
    [[ -f $home/bench/target/laco-bench.jar ]] &&
    # As above, of the bench's own kernels.
    { compgen -G "$home/bench/target/classes/dev/laco/cuda/*/*.fatbin" >/dev/null || ! find_cuda_compiler; }
}

package_bench() {
  rm -rf "$home/bench/target/classes" # Maven does not notice that the engine has changed
  maven_package laco-bench
}

finish_bench() {
  "${CXX:-c++}" -O3 -Wall -Wextra -Wconversion -Werror -fPIC -shared -fopenmp \
    "$home/bench/src/main/native/ceiling.cpp" -o "$home/bench/target/libceiling.so"
}

# Rewrites one line on the terminal until it is stopped.
start_progress() {
  local start=$SECONDS
  while true; do
    printf '\rlaco: building, %d s ' $((SECONDS - start)) >&2
    sleep 1
  done &
  progress=$!
  trap stop_progress EXIT
  trap 'exit 130' INT
}

stop_progress() {
  kill "$progress" 2>/dev/null || true
  trap - EXIT INT
  printf '\r\033[K' >&2
}

# begin NAME, and finish NAME when its jars are there: what is_fresh looks at. In between Maven may build several at once.
begin() {
  touch "$target/$1.stamp.new"
}

finish() {
  "finish_$1" && mv "$target/$1.stamp.new" "$target/$1.stamp"
}

build() {
  local start=$SECONDS ok=true log=$target/$1.log
  begin "$1"
  if [[ -t 2 ]]; then
    start_progress
  else
    say "building the $1, the log is $log"
  fi
  { "package_$1" && finish "$1"; } >"$log" 2>&1 || ok=false
  [[ ! -t 2 ]] || stop_progress
  if ! $ok; then
    grep -v "^    at " "$log" | tail -n 30 >&2 # without where Maven was then
    die 1 "the build failed, the whole log is $log"
  fi
  say "built the $1 in $((SECONDS - start)) s"
  [[ $1 != engine ]] || has_fatbins ||
    say "without CUDA kernels, since there is no CUDA compiler: scripts/cuda_toolchain gets one"
}

build_if_changed() {
  if "$1_is_built"; then
    find_jdk || require_toolchain
    return
  fi
  require_toolchain
  [[ -w $home ]] || die 1 "must be built anew, and $home is not writable: run it once as its owner"
  mkdir -p "$target"
  exec 9>"$target/laco.lock"
  if ! flock --nonblock 9; then
    say "waiting for another build"
    flock 9
  fi
  "$1_is_built" || build "$1"
  exec 9>&-
}

# What the checkout is at, for results.
commit() {
  local commit
  commit=$(git -C "$home" rev-parse --short HEAD)
  [[ -z $(git -C "$home" status --porcelain) ]] || commit+=" and local changes"
  echo "$commit"
}

launch() {
  [[ ! -f $archive ]] || java_options+=(-XX:AOTCache="$archive")
  java_command "$cli/laco-cli.jar" "${java_options[@]}"
  become_java dev.laco.cli.Main "$@"
}
