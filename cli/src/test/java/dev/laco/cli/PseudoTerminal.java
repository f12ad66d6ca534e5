package dev.laco.cli;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.File;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;

/** A terminal at which a process runs, with a keyboard and a screen for tests. */
final class PseudoTerminal implements AutoCloseable {
  private static final int O_RDWR = 2;
  private static final int O_NOCTTY = 0x100;
  private static final int O_CLOEXEC = 0x80000;
  private static final int ROOM = 4096;

  private static final MethodHandle OPEN = function("posix_openpt", JAVA_INT, JAVA_INT);
  private static final MethodHandle GRANT = function("grantpt", JAVA_INT, JAVA_INT);
  private static final MethodHandle UNLOCK = function("unlockpt", JAVA_INT, JAVA_INT);
  private static final MethodHandle NAME =
      function("ptsname_r", JAVA_INT, JAVA_INT, ADDRESS, JAVA_LONG);
  private static final MethodHandle READ =
      function("read", JAVA_LONG, JAVA_INT, ADDRESS, JAVA_LONG);
  private static final MethodHandle WRITE =
      function("write", JAVA_LONG, JAVA_INT, ADDRESS, JAVA_LONG);
  private static final MethodHandle CLOSE = function("close", JAVA_INT, JAVA_INT);

  private final Arena arena = Arena.ofConfined();
  private final MemorySegment buffer = arena.allocate(ROOM);
  private final int descriptor;
  private final File file;
  private final StringBuilder screen = new StringBuilder();

  PseudoTerminal() throws Throwable {
    descriptor = (int) OPEN.invokeExact(O_RDWR | O_NOCTTY | O_CLOEXEC);
    require((int) GRANT.invokeExact(descriptor) == 0);
    require((int) UNLOCK.invokeExact(descriptor) == 0);
    require((int) NAME.invokeExact(descriptor, buffer, (long) ROOM) == 0);
    file = new File(buffer.getString(0));
  }

  /** Starts a process whose terminal this is, with all three streams. */
  Process start(ProcessBuilder builder) throws IOException {
    List<String> command = new ArrayList<>(List.of("setsid", "--ctty"));
    command.addAll(builder.command());
    return new ProcessBuilder(command)
        .redirectInput(file)
        .redirectOutput(file)
        .redirectError(file)
        .start();
  }

  /** Reads the screen until it shows something; fails if the process ends before. */
  void await(String pattern) throws Throwable {
    Pattern expected = Pattern.compile(pattern);
    while (!expected.matcher(screen).find()) {
      require(readMore());
    }
  }

  /** All that was on the screen, when the process has ended. */
  String screen() throws Throwable {
    while (readMore()) {
      // Until nobody has the terminal open.
    }
    return screen.toString();
  }

  private boolean readMore() throws Throwable {
    long count = (long) READ.invokeExact(descriptor, buffer, (long) ROOM);
    if (count > 0) {
      screen.append(new String(buffer.asSlice(0, count).toArray(JAVA_BYTE), UTF_8));
    }
    return count > 0;
  }

  /** Types Ctrl-C. */
  void interrupt() throws Throwable {
    buffer.set(JAVA_BYTE, 0, (byte) 3);
    require((long) WRITE.invokeExact(descriptor, buffer, 1L) == 1);
  }

  private void require(boolean condition) {
    if (!condition) {
      throw new AssertionError("the terminal failed, or its process ended; its screen:\n" + screen);
    }
  }

  private static MethodHandle function(
      String name, MemoryLayout result, MemoryLayout... arguments) {
    Linker linker = Linker.nativeLinker();
    return linker.downcallHandle(
        linker.defaultLookup().findOrThrow(name), FunctionDescriptor.of(result, arguments));
  }

  @Override
  public void close() {
    arena.close();
    try {
      int status = (int) CLOSE.invokeExact(descriptor);
      require(status == 0);
    } catch (RuntimeException | Error e) {
      throw e;
    } catch (Throwable e) {
      throw new IllegalStateException(e);
    }
  }
}
