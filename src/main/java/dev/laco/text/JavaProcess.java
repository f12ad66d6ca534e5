package dev.laco.text;

import dev.laco.ResourceException;
import java.net.URI;
import java.net.URL;
import java.nio.file.Path;
import java.security.CodeSource;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * A process that runs one program of this package on a Java runtime of its own. A fault of a
 * library ends that process alone.
 */
final class JavaProcess {
  /**
   * Starts the process so that it ignores the signals that a terminal or the system sends to a
   * whole process group, dumps no core, and is the first to be killed when the system runs out of
   * memory.
   */
  private static final String SHELL =
      """
      trap '' HUP INT QUIT TERM
      ulimit -c 0
      { echo 1000 >/proc/$$/oom_score_adj; } 2>/dev/null
      exec "$@"
      """;

  /**
   * Options for a quick start, little memory, and no output of the JVM itself in files or on
   * standard output.
   */
  private static final List<String> JAVA_OPTIONS =
      List.of(
          "-Xms8m",
          "-Xss8m",
          "-Xrs",
          "-Xshare:auto",
          "-Xlog:disable",
          "-XX:+UseSerialGC",
          "-XX:TieredStopAtLevel=1",
          "-XX:-UsePerfData",
          "-XX:+SuppressFatalErrorMessage",
          "-XX:+DisplayVMOutputToStderr",
          "--enable-native-access=ALL-UNNAMED");

  private JavaProcess() {}

  /**
   * The process, which its caller starts.
   *
   * @param program the class whose {@code main} runs
   * @param libraries a class of each library that the program needs
   * @param options further options of the Java runtime
   * @param arguments the program's arguments
   * @throws ResourceException if a class lies in a jar inside another jar
   */
  static ProcessBuilder of(
      Class<?> program, List<Class<?>> libraries, List<String> options, List<String> arguments) {
    ProcessBuilder builder = new ProcessBuilder("/bin/sh", "-c", SHELL, "laco");
    List<String> command = builder.command();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(JAVA_OPTIONS);
    command.addAll(options);
    command.add("-cp");
    command.add(
        Stream.concat(Stream.of(program), libraries.stream())
            .map(JavaProcess::place)
            .distinct()
            .collect(Collectors.joining(":")));
    command.add(program.getName());
    command.addAll(arguments);
    List.of("JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS")
        .forEach(builder.environment()::remove);
    return builder;
  }

  /**
   * The jar or folder of a class, wherever this process has it from.
   *
   * @throws ResourceException if the class lies in a jar inside another jar, which a Java runtime
   *     cannot start from
   */
  private static String place(Class<?> type) {
    CodeSource source = type.getProtectionDomain().getCodeSource();
    if (source == null) {
      return System.getProperty("java.class.path");
    }
    URL location = source.getLocation();
    if (!location.getProtocol().equals("file")) {
      throw new ResourceException(
          String.format(
              Locale.ROOT,
              "%s is loaded from %s, and a process of its own cannot start from there: its jar must be a file; unpack an application of nested jars before it is started (Spring Boot: java -Djarmode=tools -jar APP.jar extract)",
              type.getSimpleName(),
              location));
    }
    return Path.of(URI.create(location.toString())).toString();
  }
}
