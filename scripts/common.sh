# What the launchers of the repository and of the bundle share. Sourced, never run.
#
#   say WORD…, die CODE WORD…   messages of the launchers
#   java_command CLASSPATH OPTION…
#                               sets command: the engine's JVM, to be followed by a main class and its arguments
#   become_java MAIN ARG…       becomes what java_command has set, or says with exit code 4 why that does not start

# The JVM takes the encoding of arguments and file names, and the form of numbers, from here.
export LC_ALL=C.UTF-8

# GNU OpenMP and OpenBLAS read these variables when they are loaded. By default the threads of GNU OpenMP spin for some
# milliseconds at every barrier, and those of OpenBLAS for 2^26 clocks after each piece of work: on a busy machine that
# takes eight times the processor time of the work itself. Threads of GNU OpenMP that sleep at once wake up late.
if [[ -z ${OMP_WAIT_POLICY+set} ]]; then
  export OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=${GOMP_SPINCOUNT-5000}
fi
export OPENBLAS_THREAD_TIMEOUT=${OPENBLAS_THREAD_TIMEOUT-4}

temporary=${TMPDIR:-/tmp}
[[ $temporary == /* && -d $temporary ]] || temporary=/tmp

say() { printf 'laco: %s\n' "$*" >&2; }

die() {
  local code=$1
  shift
  say "$@"
  exit "$code"
}

# Sets crash_file, to which the JVM writes its report when it crashes: a file in a folder that only the user can write to,
# since others can guess the name of the file; nowhere if there is no such folder.
find_crash_file() {
  local base=${XDG_CACHE_HOME:-} folder
  [[ $base == /* || ! -d ${HOME:-} ]] || base=$HOME/.cache
  folder=$base/laco
  crash_file=/dev/null
  [[ $folder == /*/laco ]] || return 0
  (umask 077 && mkdir -p "$folder") 2>/dev/null || return 0
  [[ ! -L $folder && -O $folder && -w $folder && -z $(find "$folder" -maxdepth 0 -perm /022) ]] || return 0
  crash_file=$folder/crash_%p.log
}

# The heap is small since weights stay in their files. Java code only starts native code, and most Java code has ended
# before compiled code would pay: the JVM compiles a method after four times as many calls as by default, since its
# compilers would take the processor from the search. LACO_JAVA_OPTIONS come last and so win. No output of the JVM itself
# may reach the terminal or the working folder; a JVM that crashes says so on stderr, dumps no core and exits with 1.
java_command() {
  # Java knows neither whether a stream is a terminal nor how wide the terminal is. Progress is drawn only where stderr
  # is a terminal; the text of a model is printed unchanged only where stdout is none.
  local terminal=false columns=0 stdout_terminal=false
  if [[ -t 2 ]]; then
    terminal=true
    read -r _ columns < <(stty size <&2 2>/dev/null) || columns=${COLUMNS:-0}
  fi
  [[ ! -t 1 ]] || stdout_terminal=true
  find_crash_file
  command=("$JAVA_HOME/bin/java" -Xmx256m -XX:+UseSerialGC -XX:-UsePerfData -XX:CompileThresholdScaling=4
    --enable-native-access=ALL-UNNAMED --sun-misc-unsafe-memory-access=allow
    -Xlog:disable -XX:+DisplayVMOutputToStderr -XX:ErrorFile="$crash_file"
    -XX:-CreateCoredumpOnCrash -Djava.io.tmpdir="$temporary"
    -Dstdout.encoding=UTF-8 -Dstderr.encoding=UTF-8 -Dlaco.stderr.terminal=$terminal
    -Dlaco.stderr.columns="$columns" -Dlaco.stdout.terminal=$stdout_terminal "${@:2}"
    ${LACO_JAVA_OPTIONS:-} -cp "$1")
}

# The files that the JVM and its libraries have open before any model is.
least_open_files=64

# A JVM that does not start exits with 1, after lines of its own.
become_java() {
  local open_files address_space options problem
  open_files=$(ulimit -Hn)
  [[ $open_files == unlimited ]] || ((open_files >= least_open_files)) ||
    die 4 "may open $open_files files only, and needs $least_open_files at least: ulimit -n $least_open_files"
  address_space=$(ulimit -v)
  options="${LACO_JAVA_OPTIONS:-} ${JDK_JAVA_OPTIONS:-} ${JAVA_TOOL_OPTIONS:-}"
  if [[ $options == *[^\ ]* || $address_space != unlimited ]]; then
    problem=$("${command[@]}" -version 2>&1) || die 4 "Java does not start:" \
      "$(grep -Ev 'Picked up |^Error: (Could not create the Java|A fatal exception)|^Error occurred during' <<<"$problem" |
        paste -sd ' ')" \
      "(LACO_JAVA_OPTIONS, JDK_JAVA_OPTIONS and JAVA_TOOL_OPTIONS hold '$options'; address space, ulimit -v: $address_space)"
  fi
  exec "${command[@]}" "$@"
}
