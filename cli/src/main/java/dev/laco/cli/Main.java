package dev.laco.cli;

import dev.laco.ByteSize;
import dev.laco.LacoException;
import dev.laco.Legible;
import dev.laco.UsageException;
import dev.laco.compare.Strategy;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystemException;
import java.util.Locale;
import java.util.function.Function;
import java.util.stream.Collectors;
import picocli.CommandLine;
import picocli.CommandLine.ExecutionException;
import picocli.CommandLine.MissingParameterException;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.TypeConversionException;
import picocli.CommandLine.UnmatchedArgumentException;

/**
 * Entry point: parses the command line, runs a command, turns errors into one line and an exit
 * code.
 */
public final class Main {

  private static final int MAX_MESSAGE = 2000;

  /** The system property that shows where an error came from. */
  private static final String TRACE = "laco.trace";

  private Main() {}

  /** Runs the command line and exits with its code. */
  public static void main(String[] args) {
    Locale.setDefault(Locale.ROOT);
    PrintWriter err = new PrintWriter(System.err, true, StandardCharsets.UTF_8);
    Thread.setDefaultUncaughtExceptionHandler((thread, e) -> exitSoon(failed(e, err)));
    PrintWriter out = StandardOutput.claim();
    System.exit(run(out, err, args));
  }

  /**
   * Ends the process, unless it is ending already: then the thread may be one that it waits for.
   */
  private static void exitSoon(int code) {
    Thread.ofPlatform().daemon().start(() -> System.exit(code));
  }

  /** Runs the command line; results go to {@code out}, everything else to {@code err}. */
  public static int run(PrintWriter out, PrintWriter err, String... args) {
    CommandLine commandLine = new CommandLine(new LacoCommand());
    commandLine.setOut(out);
    commandLine.setErr(err);
    commandLine.setExpandAtFiles(false);
    commandLine.setCaseInsensitiveEnumValuesAllowed(true);
    commandLine.setAbbreviatedOptionsAllowed(false);
    commandLine.setUsageHelpAutoWidth(false);
    commandLine.registerConverter(ByteSize.class, text -> converted(ByteSize::parse, text));
    commandLine.registerConverter(Share.class, text -> converted(Share::parse, text));
    commandLine.registerConverter(TimeSpan.class, text -> converted(TimeSpan::parse, text));
    commandLine.registerConverter(Strategy.class, text -> converted(Strategy::named, text));
    HelpSection.use(commandLine);
    commandLine.setParameterExceptionHandler(Main::usageError);
    commandLine.setExecutionExceptionHandler(
        (e, command, parsed) ->
            e instanceof UsageException ? usageError(message(e), command) : failed(e, err));
    int code;
    try {
      code = commandLine.execute(args);
    } catch (Throwable e) {
      code = failed(e, err);
    }
    return code == 0 && out.checkError() ? unwritten(out, err) : code;
  }

  private static <T> T converted(Function<String, T> parse, String text) {
    try {
      return parse.apply(text);
    } catch (UsageException e) {
      throw new TypeConversionException(e.getMessage());
    }
  }

  private static int usageError(ParameterException thrown, String[] args) {
    ParameterException e =
        thrown instanceof MissingParameterException ? unknownOptionOr(thrown, args) : thrown;
    String message =
        e instanceof UnmatchedArgumentException unmatched
            ? Suggestion.message(unmatched)
            : e.getMessage() + (e instanceof MissingParameterException ? swallowed(e) : "");
    return usageError(message.replaceFirst("^Error: ", ""), e.getCommandLine());
  }

  /** Names the options that take the values behind them, one of which may be what is missing. */
  private static String swallowed(ParameterException missing) {
    String options =
        missing.getCommandLine().getParseResult().matchedOptions().stream()
            .filter(option -> option.arity().max() > option.arity().min())
            .filter(option -> !String.join("", option.originalStringValues()).isEmpty())
            .map(OptionSpec::longestName)
            .collect(Collectors.joining(", "));
    return options.isEmpty() ? "" : ": name it before " + options;
  }

  /** What is missing is often what a mistyped option was to give, or not needed with it. */
  private static ParameterException unknownOptionOr(ParameterException missing, String[] args) {
    CommandLine command = missing.getCommandLine();
    command.getCommandSpec().parser().collectErrors(true);
    command.getCommandSpec().root().commandLine().parseArgs(args);
    for (Exception e : command.getParseResult().errors()) {
      if (e instanceof UnmatchedArgumentException unmatched && unmatched.isUnknownOption()) {
        return unmatched;
      }
    }
    return missing;
  }

  private static int usageError(String message, CommandLine command) {
    String name = command.getCommandSpec().qualifiedName();
    command.getErr().println("laco: " + oneLine(message) + "; see " + name + " --help");
    return ExitCode.USAGE;
  }

  private static int failed(Throwable thrown, PrintWriter err) {
    Throwable e = cause(thrown);
    if (e instanceof Console.Unwritable) {
      // run asks the output why.
      return 0;
    }
    err.println("laco: " + oneLine(message(e)));
    if (Boolean.getBoolean(TRACE)) {
      e.printStackTrace(err);
    }
    return code(e);
  }

  private static int unwritten(PrintWriter out, PrintWriter err) {
    IOException failure = out instanceof StandardOutput standard ? standard.failure() : null;
    String why = failure == null ? "it is closed" : String.valueOf(failure.getMessage());
    // Whoever reads a pipe may have seen enough.
    if (!why.equals("Broken pipe")) {
      err.println("laco: cannot write to standard output: " + oneLine(why));
    }
    return ExitCode.RESOURCE;
  }

  /** What went wrong, without the wrapping of those that pass it on. */
  private static Throwable cause(Throwable e) {
    Throwable cause = e.getCause();
    boolean wrapping =
        e instanceof ExecutionException
            || e instanceof ExceptionInInitializerError
            || e instanceof UncheckedIOException;
    return wrapping && cause != null ? cause(cause) : e;
  }

  private static int code(Throwable e) {
    return switch (e) {
      case LacoException known -> ExitCode.of(known);
      case IOException io -> ExitCode.RESOURCE;
      case OutOfMemoryError memory -> ExitCode.RESOURCE;
      case UnsatisfiedLinkError library -> ExitCode.RESOURCE;
      // What the JDK throws where a mapped file lost the page that was read.
      case InternalError fault when isMappedFileFault(fault) -> ExitCode.BAD_INPUT;
      default -> ExitCode.INTERNAL;
    };
  }

  private static String message(Throwable e) {
    return switch (e) {
      case LacoException known -> OptionNames.in(known.template());
      case FileSystemException file ->
          "cannot use "
              + file.getFile()
              + ": "
              + (file.getReason() == null ? file.getClass().getSimpleName() : file.getReason());
      case IOException io -> "input or output failed: " + io.getMessage();
      case OutOfMemoryError memory ->
          "out of memory: "
              + memory.getMessage()
              + "; give the Java heap more with LACO_JAVA_OPTIONS=-Xmx1g";
      case UnsatisfiedLinkError library ->
          "a native library cannot be loaded: " + library.getMessage();
      case InternalError fault when isMappedFileFault(fault) ->
          "a weight file was cut short while it was read: copy the model again";
      default ->
          "internal error: "
              + Legible.excerpt(e)
              + "; please report it with what LACO_JAVA_OPTIONS=-D"
              + TRACE
              + "=true adds to this line";
    };
  }

  private static boolean isMappedFileFault(InternalError e) {
    return String.valueOf(e.getMessage()).contains("unsafe memory access");
  }

  /** The message on one line of bounded length, blanks around the ends of its lines made one. */
  private static String oneLine(String message) {
    String lines = message.strip().lines().map(String::strip).collect(Collectors.joining(" "));
    return Legible.cut(Legible.line(lines), MAX_MESSAGE);
  }
}
