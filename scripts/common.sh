# What the launchers of the repository and of the bundle share. Sourced, never run.
#
#   say WORD…, die CODE WORD…   messages of the launchers
#   java_command CLASSPATH OPTION…
#                               sets command: the engine's JVM, to be followed by a main class and its arguments

# The JVM takes the encoding of arguments and file names, and the form of numbers, from here.
export LC_ALL=C.UTF-8

temporary=${TMPDIR:-/tmp}
[[ -d $temporary ]] || temporary=/tmp

say() { printf 'laco: %s\n' "$*" >&2; }

die() {
  local code=$1
  shift
  say "$@"
  exit "$code"
}

# The heap is small since weights stay in their files. Java code only tells native code what to do, and most of it is done with
# before it would run quicker: the JVM compiles what has run four times as often as by default, or else its compilers take the
# processor from the search. LACO_JAVA_OPTIONS come last and so win. Nothing of the JVM's own may reach the terminal or the
# working folder.
java_command() {
  # Java cannot tell a terminal by itself: progress is drawn only where stderr is one, and what a model says goes as it is only
  # where stdout is none.
  local terminal=false stdout_terminal=false
  [[ ! -t 2 ]] || terminal=true
  [[ ! -t 1 ]] || stdout_terminal=true
  command=("$JAVA_HOME/bin/java" -Xmx256m -XX:+UseSerialGC -XX:-UsePerfData -XX:CompileThresholdScaling=4
    --enable-native-access=ALL-UNNAMED --sun-misc-unsafe-memory-access=allow
    -Xlog:disable -XX:ErrorFile="$temporary/laco_crash_%p.log" -Djava.io.tmpdir="$temporary"
    -Dstdout.encoding=UTF-8 -Dstderr.encoding=UTF-8 -Dlaco.stderr.terminal=$terminal
    -Dlaco.stdout.terminal=$stdout_terminal "${@:2}"
    ${LACO_JAVA_OPTIONS:-} -cp "$1")
}
