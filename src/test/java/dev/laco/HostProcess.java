package dev.laco;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.nio.charset.StandardCharsets.UTF_8;

import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.reflect.Field;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TimeZone;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.logging.LogManager;
import java.util.logging.Logger;

/** What an engine that is embedded in a process could change of it. */
final class HostProcess {
  /** Threads of the JDK, which are not ended by those that they work for. */
  private static final String THREADS_OF_THE_JDK =
      "ForkJoinPool\\.commonPool.*|process reaper.*|Common-Cleaner|Cleaner-.*";

  private HostProcess() {}

  /** Work that may fail. */
  @FunctionalInterface
  interface Work {
    void run() throws Exception;
  }

  /** Works, and prints what of the process is not as before. */
  static void unchangedBy(Work work) throws Exception {
    process(); // Asking sets a property and a hook of the JDK.
    Map<String, Object> before = process();
    work.run();
    Map<String, Object> after = process();
    for (int wait = 0; wait < 100 && !after.equals(before); wait++) {
      Thread.sleep(20); // Threads that were told to end.
      after = process();
    }
    Set<String> keys = new TreeSet<>(before.keySet());
    keys.addAll(after.keySet());
    for (String key : keys) {
      if (!Objects.equals(before.get(key), after.get(key))) {
        System.out.println(key + " was " + before.get(key) + ", is " + after.get(key));
      }
    }
  }

  /** All that an engine could change of its host. */
  private static Map<String, Object> process() throws Exception {
    Map<String, Object> state = new TreeMap<>();
    System.getProperties().forEach((key, value) -> state.put("property " + key, value));
    environment().forEach(variable -> state.put("variable " + variable, true));
    for (Locale.Category category : Locale.Category.values()) {
      state.put("locale of " + category, Locale.getDefault(category));
    }
    state.put("time zone", TimeZone.getDefault().getID());
    state.put("hooks", hooks());
    state.put("signals", signals());
    state.put("logging", logging());
    state.put("streams", List.of(System.in, System.out, System.err));
    state.put("handler", String.valueOf(Thread.getDefaultUncaughtExceptionHandler()));
    state.put("threads", threads());
    return state;
  }

  /** Variables as native code sees them. */
  private static List<String> environment() {
    MemorySegment environ =
        Linker.nativeLinker().defaultLookup().findOrThrow("environ").reinterpret(8);
    MemorySegment at = environ.get(ADDRESS, 0).reinterpret(Long.MAX_VALUE);
    List<String> variables = new ArrayList<>();
    for (long i = 0; at.getAtIndex(ADDRESS, i).address() != 0; i++) {
      variables.add(at.getAtIndex(ADDRESS, i).reinterpret(Long.MAX_VALUE).getString(0, UTF_8));
    }
    return variables;
  }

  private static List<String> hooks() throws Exception {
    Field hooks = Class.forName("java.lang.ApplicationShutdownHooks").getDeclaredField("hooks");
    hooks.setAccessible(true);
    return ((Map<?, ?>) hooks.get(null)).keySet().stream().map(Object::toString).sorted().toList();
  }

  /** The signals that are caught or ignored. */
  private static List<String> signals() throws Exception {
    return Files.readAllLines(Path.of("/proc/self/status")).stream()
        .filter(line -> line.startsWith("SigCgt") || line.startsWith("SigIgn"))
        .toList();
  }

  private static String logging() {
    Logger root = LogManager.getLogManager().getLogger("");
    return root.getLevel() + " " + Arrays.toString(root.getHandlers());
  }

  private static List<String> threads() {
    return Thread.getAllStackTraces().keySet().stream()
        .map(Thread::getName)
        .filter(name -> !name.matches(THREADS_OF_THE_JDK))
        .sorted()
        .toList();
  }
}
