package dev.laco;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.nio.charset.StandardCharsets.UTF_8;

import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.backend.Backend;
import dev.laco.backend.Compute;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.CollapseSettings;
import dev.laco.collapse.LayerCollapse;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.linalg.Cholesky;
import dev.laco.model.HostTensor;
import dev.laco.model.NewWeights;
import dev.laco.model.PackedSequences;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.text.Tokenizer;
import dev.laco.transformer.RunningModel;
import java.lang.foreign.Arena;
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

/**
 * A host that prunes a model with the engine embedded in its JVM. Prints what of the process is not
 * as before.
 */
final class EmbeddedRun {
  private static final int SHARD_BYTES = 1_000_000;

  /** Threads of the JDK, which are not ended by those that they work for. */
  private static final String THREADS_OF_THE_JDK =
      "ForkJoinPool\\.commonPool.*|process reaper.*|Common-Cleaner|Cleaner-.*";

  private EmbeddedRun() {}

  /** Prunes {@code MODEL} into {@code OUT}. */
  public static void main(String[] arguments) throws Exception {
    process(); // Asking sets a property and a hook of the JDK.
    Map<String, Object> before = process();
    prune(Path.of(arguments[0]), Path.of(arguments[1]));
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

  private static void prune(Path folder, Path out) {
    try (Checkpoint model = Checkpoint.open(folder);
        Tokenizer tokenizer = Tokenizer.load(folder).orElseThrow();
        Backend backend = CpuBackend.open(Compute.F32, 1)) {
      CollapsePlan.Source source = PlanApplier.source(model);
      CollapseSettings settings =
          new CollapseSettings(
              4, 2, 8, source.layers(), MergeRule.parse("rdsc:0.5"), NormsPolicy.MERGE);
      List<int[]> texts = List.of(tokenizer.encode("Once upon a time there was a small bird."));
      CollapsePlan plan;
      try (SweepScorer scorer =
          new SweepScorer(
              new RunningModel(backend, model.config(), model),
              source,
              PackedSequences.of(texts),
              SweepOptions.of(1))) {
        plan = new LayerCollapse(settings, source, scorer).run(0.5, (trial, share) -> {}).plan();
      }
      solve();
      HostTensor norm = model.tensor("model.norm.weight");
      PlanTensors tensors = new PlanTensors(NewWeights.NONE.with(norm));
      new PlanApplier(model, plan, tensors, SHARD_BYTES, warning -> {})
          .write(out, false, bytes -> {});
      try (Checkpoint written = Checkpoint.open(out)) {
        written.weightNames().forEach(written::requireFinite);
      }
    }
  }

  /** Loads what fits. */
  private static void solve() {
    try (Arena arena = Arena.ofConfined()) {
      Cholesky.solve(
          arena.allocateFrom(JAVA_DOUBLE, 4, 1, 1, 3),
          arena.allocateFrom(JAVA_DOUBLE, 1, 2),
          2,
          1,
          1);
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
