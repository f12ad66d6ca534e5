package dev.laco.apply;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.CancelledException;
import dev.laco.Fixtures;
import dev.laco.LacoException;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.model.HostTensor;
import dev.laco.model.NewWeights;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.LongConsumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a writing process leaves when it is killed, interrupted, or finds the disk full. */
class InterruptedWriteTest {
  private static final Path MODEL = Fixtures.model("llama_untied_gqa").toAbsolutePath();
  private static final int KILLS = 8;

  @TempDir Path folder;

  @Test
  void killedAtAnyMomentTheTargetIsAbsentOrComplete() throws Exception {
    Random random = new Random(3);
    int found = 0;
    for (int kill = 0; kill < KILLS; kill++) {
      Process process = start(List.of(), "loop", folder.toString(), Integer.toString(kill));
      awaitLine(process, "written");
      long start = System.nanoTime();
      awaitLine(process, "written");
      // Within what the next two writes take, however quick the machine is.
      TimeUnit.NANOSECONDS.sleep(random.nextLong(System.nanoTime() - start));
      process.destroyForcibly().waitFor();
      try (Stream<Path> files = Files.list(folder)) {
        for (Path path : files.toList()) {
          String name = path.getFileName().toString();
          if (!name.startsWith(".laco-")) {
            assertComplete(path);
            found++;
          }
        }
      }
      assertTrue(Files.exists(folder.resolve("over")), "the old folder or the new one is there");
    }
    assertTrue(found > KILLS);
    // The next run cleans up after all the dead ones.
    Files.createDirectory(folder.resolve("last"));
    write(folder.resolve("last"), "rdsc", false, bytes -> {});
    assertEquals(List.of(), leftovers(folder));
  }

  private static void assertComplete(Path path) throws IOException {
    try (Checkpoint model = Checkpoint.open(MODEL);
        Checkpoint pruned = Checkpoint.open(path)) {
      pruned.weightNames().forEach(pruned::requireFinite);
      CollapsePlan plan =
          CollapsePlan.parse("plan", Files.readString(path.resolve(PlanApplier.PLAN)));
      assertEquals(PlanApplier.source(model), plan.source());
      assertEquals(plan.depth(), pruned.config().numHiddenLayers());
      assertTrue(Files.size(path.resolve("model.safetensors")) > 0);
      try (PlanTensors tensors = PlanTensors.beside(path.resolve(PlanApplier.PLAN), plan)) {
        assertFalse(tensors.isEmpty());
      }
    }
  }

  /** A host that cancels its worker and waits for it when it is told to stop. */
  @ParameterizedTest
  @ValueSource(strings = {"give-up", "fail"})
  @Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
  void aHostThatWaitsForItsWorkerStops(String how) throws Exception {
    Path out = folder.resolve("new/parents/out");
    Process process = start(List.of(), how, out.toString());
    awaitLine(process, "writing");
    assertTrue(Files.exists(out.getParent()));
    // Unlike Process.destroy, this leaves the stream open.
    process.toHandle().destroy();
    List<String> output = process.inputReader().lines().toList();
    assertEquals(List.of(how.equals("fail") ? "failed" : "cancelled", "joined"), output);
    // 128 + SIGTERM.
    assertEquals(143, process.waitFor());
    try (Stream<Path> files = Files.list(folder)) {
      assertEquals(List.of(), files.toList());
    }
  }

  @Test
  void aDiskThatIsTooSmallIsNoticedBeforeWriting() throws Exception {
    String output = onSmallDisk("512k", "fits-not");
    assertTrue(
        output.matches("ResourceException left: \\[] OUT: needs \\d+ bytes but \\d+ are free.*"),
        output);
  }

  @Test
  void aDiskThatFillsUpMeanwhileLeavesNothing() throws Exception {
    String output = onSmallDisk("4m", "fill");
    String expected =
        "ResourceException left: \\[filler] OUT/model.safetensors: cannot be written: No space left on device;"
            + " free space there: \\d+ bytes; OUT needs \\d+ bytes in all";
    assertTrue(output.matches(expected), output);
  }

  /** Runs on a file system of its own in memory, which goes away with the process. */
  private String onSmallDisk(String size, String mode) throws Exception {
    Path disk = Files.createDirectory(folder.resolve("disk"));
    String script =
        String.format(
            Locale.ROOT, "mount -t tmpfs -o size=%s tmpfs '%s' && exec \"$@\"", size, disk);
    List<String> namespace = new ArrayList<>(List.of("unshare", "--mount"));
    if (!Files.isWritable(Path.of("/root"))) {
      namespace.addAll(List.of("--user", "--map-root-user"));
    }
    namespace.addAll(List.of("sh", "-c", script, "sh"));
    Process process = start(namespace, mode, disk.toString());
    String output = new String(process.getInputStream().readAllBytes(), UTF_8).strip();
    process.waitFor();
    return output.replace(disk.resolve("out").toString(), "OUT");
  }

  private static Process start(List<String> prefix, String... arguments) throws IOException {
    List<String> command = new ArrayList<>(prefix);
    command.addAll(
        List.of(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "-Xshare:auto",
            "-XX:TieredStopAtLevel=1",
            "--enable-native-access=ALL-UNNAMED",
            "-cp",
            System.getProperty("java.class.path"),
            Writer.class.getName()));
    command.addAll(List.of(arguments));
    return new ProcessBuilder(command).redirectErrorStream(true).start();
  }

  private static void awaitLine(Process process, String expected) throws IOException {
    BufferedReader reader = process.inputReader();
    String line = reader.readLine();
    if (!expected.equals(line)) {
      process.destroyForcibly();
      throw new AssertionError(line + "\n" + String.join("\n", reader.lines().toList()));
    }
  }

  private static List<String> leftovers(Path folder) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files
          .map(file -> file.getFileName().toString())
          .filter(name -> name.startsWith(".laco-"))
          .toList();
    }
  }

  private static void write(Path out, String rule, boolean overwrite, LongConsumer progress) {
    try (Checkpoint model = Checkpoint.open(MODEL)) {
      applier(model, rule).write(out, overwrite, progress);
    }
  }

  private static PlanApplier applier(Checkpoint model, String rule) {
    CollapsePlan plan =
        CollapsePlan.identity(PlanApplier.source(model))
            .fold(3, 2, MergeRule.parse(rule), NormsPolicy.MERGE);
    HostTensor norm = model.tensor("model.norm.weight");
    PlanTensors tensors = new PlanTensors(NewWeights.NONE.with(norm));
    return new PlanApplier(model, plan, tensors, Long.MAX_VALUE, warning -> {});
  }

  /** The process that writes. */
  static final class Writer {
    private Writer() {}

    public static void main(String[] arguments) throws Exception {
      Path path = Path.of(arguments[1]);
      switch (arguments[0]) {
        case "loop" -> loop(path, arguments[2]);
        case "give-up", "fail" -> slow(path, arguments[0].equals("fail"));
        default -> onSmallDisk(path, arguments[0].equals("fill"));
      }
    }

    /** Writes new folders and overwrites one, forever. */
    private static void loop(Path folder, String run) {
      for (int i = 0; ; i++) {
        write(folder.resolve("over"), i % 2 == 0 ? "rdsc" : "replace", true, bytes -> {});
        System.out.println("written");
        write(folder.resolve("new-" + run + "-" + i), "rdsc", false, bytes -> {});
      }
    }

    /** Writes slowly until the process is told to end; the hook ends the write and joins it. */
    private static void slow(Path out, boolean fail) {
      AtomicBoolean ending = new AtomicBoolean();
      AtomicBoolean told = new AtomicBoolean();
      try (Checkpoint model = Checkpoint.open(MODEL)) {
        PlanApplier applier = applier(model, "rdsc");
        Thread worker = Thread.currentThread();
        Runtime.getRuntime()
            .addShutdownHook(
                new Thread(
                    () -> {
                      ending.set(true);
                      if (!fail) {
                        applier.giveUp();
                      }
                      join(worker);
                      System.out.println("joined");
                    }));
        applier.write(
            out,
            false,
            bytes -> {
              if (!told.getAndSet(true)) {
                System.out.println("writing");
              }
              sleep();
              if (fail && ending.get()) {
                throw new IllegalStateException("the host is ending");
              }
            });
      } catch (CancelledException e) {
        System.out.println("cancelled");
      } catch (IllegalStateException e) {
        System.out.println("failed");
      }
    }

    private static void join(Thread worker) {
      try {
        worker.join();
      } catch (InterruptedException e) {
        throw new IllegalStateException(e);
      }
    }

    private static void sleep() {
      try {
        Thread.sleep(100);
      } catch (InterruptedException e) {
        throw new IllegalStateException(e);
      }
    }

    private static void onSmallDisk(Path disk, boolean fill) throws IOException {
      String result;
      try {
        write(disk.resolve("out"), "rdsc", false, fill ? bytes -> fill(disk) : bytes -> {});
        result = "written";
      } catch (LacoException e) {
        result = e.getClass().getSimpleName() + " left: %s " + e.getMessage();
      }
      try (Stream<Path> files = Files.list(disk)) {
        System.out.printf(
            Locale.ROOT, result, files.map(file -> file.getFileName().toString()).toList());
      }
    }

    /** Takes the space that was free when it was checked. */
    private static void fill(Path disk) {
      Path filler = disk.resolve("filler");
      if (!Files.exists(filler)) {
        try {
          Files.write(filler, new byte[3 << 20]);
        } catch (IOException e) {
          // Full now.
        }
      }
    }
  }
}
