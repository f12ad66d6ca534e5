package dev.laco.cli;

import dev.laco.LacoException;
import dev.laco.UsageException;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystemException;
import java.util.Locale;
import java.util.function.Function;
import picocli.CommandLine;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.TypeConversionException;
import picocli.CommandLine.UnmatchedArgumentException;

/**
 * Entry point: parses the command line, runs a command, turns errors into one line and an exit
 * code.
 */
public final class Main {
  private static final int INTERNAL = 1;
  private static final int USAGE = 2;
  private static final int BAD_INPUT = 3;
  private static final int RESOURCE = 4;

  private Main() {}

  /** Runs the command line and exits with its code. */
  public static void main(String[] args) {
    Locale.setDefault(Locale.ROOT);
    PrintWriter out = new PrintWriter(System.out, false, StandardCharsets.UTF_8);
    PrintWriter err = new PrintWriter(System.err, true, StandardCharsets.UTF_8);
    int code = run(out, err, args);
    out.flush();
    System.exit(code);
  }

  /** Runs the command line; results go to {@code out}, everything else to {@code err}. */
  public static int run(PrintWriter out, PrintWriter err, String... args) {
    CommandLine commandLine = new CommandLine(new LacoCommand());
    commandLine.setOut(out);
    commandLine.setErr(err);
    commandLine.setCaseInsensitiveEnumValuesAllowed(true);
    commandLine.setAbbreviatedOptionsAllowed(false);
    commandLine.setUsageHelpAutoWidth(false);
    commandLine.registerConverter(ByteSize.class, text -> converted(ByteSize::parse, text));
    commandLine.registerConverter(Share.class, text -> converted(Share::parse, text));
    HelpSection.use(commandLine);
    commandLine.setParameterExceptionHandler(Main::usageError);
    commandLine.setExecutionExceptionHandler(
        (e, command, parsed) ->
            e instanceof UsageException ? usageError(message(e), command) : failed(e, err));
    try {
      return commandLine.execute(args);
    } catch (OutOfMemoryError | InternalError e) {
      return failed(e, err);
    }
  }

  private static <T> T converted(Function<String, T> parse, String text) {
    try {
      return parse.apply(text);
    } catch (UsageException e) {
      throw new TypeConversionException(e.getMessage());
    }
  }

  private static int usageError(ParameterException e, String[] args) {
    String message =
        e instanceof UnmatchedArgumentException unmatched
            ? Suggestion.message(unmatched)
            : String.valueOf(e.getMessage());
    return usageError(message.replaceFirst("^Error: ", ""), e.getCommandLine());
  }

  private static int usageError(String message, CommandLine command) {
    String name = command.getCommandSpec().qualifiedName();
    command.getErr().println("laco: " + oneLine(message) + "; see " + name + " --help");
    return USAGE;
  }

  private static int failed(Throwable e, PrintWriter err) {
    err.println("laco: " + oneLine(message(e)));
    if (code(e) == INTERNAL) {
      e.printStackTrace(err);
    }
    return code(e);
  }

  private static int code(Throwable e) {
    return switch (e) {
      case LacoException known -> known.exitCode();
      case IOException io -> RESOURCE;
      case UncheckedIOException io -> RESOURCE;
      case OutOfMemoryError memory -> RESOURCE;
      // What the JDK throws where a mapped file lost the page that was read.
      case InternalError fault when isMappedFileFault(fault) -> BAD_INPUT;
      default -> INTERNAL;
    };
  }

  private static String message(Throwable e) {
    return switch (e) {
      case LacoException known -> String.valueOf(known.getMessage());
      case FileSystemException file ->
          "cannot use "
              + file.getFile()
              + ": "
              + (file.getReason() == null ? file.getClass().getSimpleName() : file.getReason());
      case IOException io -> "input or output failed: " + io.getMessage();
      case UncheckedIOException io when io.getCause() != null -> message(io.getCause());
      case OutOfMemoryError memory ->
          "out of memory: "
              + memory.getMessage()
              + "; give the Java heap more with LACO_JAVA_OPTIONS=-Xmx1g";
      case InternalError fault when isMappedFileFault(fault) ->
          "a weight file was cut short while it was read: copy the model again";
      default -> "internal error: " + e + "; please report it with the lines below";
    };
  }

  private static boolean isMappedFileFault(InternalError e) {
    return String.valueOf(e.getMessage()).contains("unsafe memory access");
  }

  private static String oneLine(String message) {
    return message.strip().replaceAll("\\s*\\R\\s*", " ");
  }
}
