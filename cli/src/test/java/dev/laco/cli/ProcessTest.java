package dev.laco.cli;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.checkpoint.OutputTensor;
import dev.laco.checkpoint.SafetensorsWriter;
import dev.laco.checkpoint.TestCheckpoints;
import dev.laco.model.DType;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What only a process of its own shows: signals, memory, a full disk, the working folder. */
class ProcessTest {
  private static final String FIXTURE = "llama24_search";
  private static final Path MODEL = Fixtures.model(FIXTURE).toAbsolutePath();
  private static final String STAGED = ".laco-";
  private static final int INTERRUPTED = 130;

  @TempDir Path folder;
  private Path calibration;

  @BeforeEach
  void writeCalibration() {
    calibration = Fixtures.tokens(folder, FIXTURE, "calib");
  }

  /** A prune whose many small files make its writing last. */
  private Process prune(Path out) throws IOException {
    return ProgramRun.java(
            Main.class,
            "prune",
            MODEL,
            out,
            "--calibration",
            calibration,
            "--rule",
            "rdsc",
            "--threshold",
            0.5,
            "--max-shard-size",
            "20KB")
        .start();
  }

  private static void awaitStaging(Process process, Path parent) throws Exception {
    List<String> before = staged(parent);
    while (process.isAlive() && staged(parent).equals(before)) {
      Thread.sleep(1);
    }
  }

  private static List<String> staged(Path parent) {
    return TestFiles.names(parent).stream()
        .filter(name -> name.startsWith(STAGED) && name.endsWith(".new"))
        .toList();
  }

  @Test
  void anInterruptWhileWritingKeepsThePlanAlone() throws Exception {
    Path parent = folder.resolve("new/parent");
    Files.createDirectories(parent);
    Process process = prune(parent.resolve("out"));
    awaitStaging(process, parent);
    assertKept(parent.resolve("out.plan.json"), interrupted(process));
    assertEquals(List.of("out.plan.json"), TestFiles.names(parent));
  }

  @Test
  void anInterruptedDryRunLeavesNothing() throws Exception {
    List<String> before = TestFiles.names(folder);
    Process process =
        ProgramRun.java(
                Main.class,
                "prune",
                MODEL,
                "--dry-run",
                "--calibration",
                calibration,
                "--threshold",
                0.5,
                "--device",
                "reference")
            .start();
    awaitLine(process, ".*(accepted|rejected).*");
    assertEquals(
        "laco: interrupted: --plan FILE would keep the best plan found so far\n",
        interrupted(process));
    assertEquals(before, TestFiles.names(folder));
  }

  @Test
  void anInterruptWhileSearchingKeepsTheBestPlanWhereOneIsNamed() throws Exception {
    Path out = folder.resolve("out");
    Path plan = folder.resolve("plan.json");
    // So few that the first models are found soon; there are a thousand more.
    Path few = TestFiles.write(folder.resolve("few.json"), "[[1, 2, 3, 4, 5, 6, 7, 8]]");
    List<String> before = TestFiles.names(folder);
    ProcessBuilder builder =
        ProgramRun.java(
            Main.class,
            "prune",
            MODEL,
            out,
            "--calibration",
            few,
            "--target-layers",
            2,
            "--rule",
            "drop",
            "--device",
            "reference",
            "--plan",
            plan);
    // Progress shows the best so far.
    builder.command().add(builder.command().indexOf("-cp"), "-Dlaco.stderr.terminal=true");
    Process process = builder.start();
    BufferedReader progress = process.errorReader();
    StringBuilder seen = new StringBuilder();
    for (int next = progress.read(); next >= 0; next = progress.read()) {
      seen.append((char) next);
      if (seen.indexOf(" layers, ") >= 0) {
        break;
      }
    }
    interrupt(process);
    String last = progress.lines().toList().getLast();
    assertEquals(INTERRUPTED, process.waitFor());
    assertKept(plan, last.replaceFirst(".*(?=laco: interrupted)", "") + "\n");
    assertEquals(
        Stream.concat(before.stream(), Stream.of("plan.json")).sorted().toList(),
        TestFiles.names(folder));
    Laco.run("apply", plan, MODEL, out).succeeded();
  }

  /** Checks the one line that says where the plan is, and how to go on. */
  private static void assertKept(Path plan, String err) {
    assertTrue(
        err.matches(
            String.format(
                Locale.ROOT,
                "laco: interrupted: the best plan so far, of \\d+ layers, is in \\Q%s\\E; laco prune \\S+ \\S+ --from-plan \\Q%s\\E goes on from it\\n",
                plan,
                plan)),
        err);
  }

  /** What an interrupted process says on standard error. */
  private static String interrupted(Process process) throws Exception {
    interrupt(process);
    String err = new String(process.getErrorStream().readAllBytes(), UTF_8);
    assertEquals(INTERRUPTED, process.waitFor(), err);
    return ProgramRun.withoutTimes(err);
  }

  private static void interrupt(Process process) throws Exception {
    new ProcessBuilder("kill", "-INT", Long.toString(process.pid())).start().waitFor();
  }

  private static void awaitLine(Process process, String pattern) throws IOException {
    BufferedReader lines = process.inputReader();
    String line = lines.readLine();
    while (line != null && !line.matches(pattern)) {
      line = lines.readLine();
    }
    assertTrue(line != null, "ended without a line like " + pattern);
  }

  @Test
  void aShardThatIsCutShortDuringTheSearchIsNoticed() throws Exception {
    Path model = TestCheckpoints.copy(FIXTURE, folder.resolve("model"));
    String shard =
        TestFiles.names(model).stream().filter(n -> n.endsWith(".safetensors")).toList().getLast();
    Process process =
        ProgramRun.java(
                Main.class,
                "prune",
                model,
                folder.resolve("out"),
                "--calibration",
                calibration,
                "--threshold",
                1,
                "--interval",
                1,
                "--device",
                "reference")
            .start();
    awaitLine(process, ".*rejected.*");
    try (RandomAccessFile file = new RandomAccessFile(model.resolve(shard).toFile(), "rw")) {
      file.setLength(file.length() / 2);
    }
    String err = new String(process.getErrorStream().readAllBytes(), UTF_8);
    assertEquals(3, process.waitFor(), err);
    assertTrue(ProgramRun.withoutTimes(err).matches("laco: [^\\n]+\\n"), err);
    // By its size before a layer is read, or by the fault in the instant between.
    assertTrue(err.contains(shard) || err.contains("cut short"), err);
    assertFalse(Files.exists(folder.resolve("out")));
  }

  @Test
  void aDiskThatIsTooSmallIsSaidAndLeavesNothing() throws Exception {
    Path disk = Files.createDirectory(folder.resolve("disk"));
    ProgramRun run = onSmallDisk(disk, "64k", disk.resolve("out"));
    assertTrue(
        run.err().matches("laco: [^\\n]*: needs \\d+ bytes but \\d+ are free[^\\n]*\\n"),
        run.err());
    assertTrue(run.out().endsWith("code 4, left:\n"), run.out());
  }

  @Test
  void aReportThatDoesNotFitItsDiskIsSaidBeforeTheSearch() throws Exception {
    Path disk = Files.createDirectory(folder.resolve("disk"));
    List<String> before = TestFiles.names(folder);
    ProgramRun run =
        onSmallDisk(disk, "4k", folder.resolve("out"), "--report", disk.resolve("report.json"));
    assertTrue(
        run.err().matches("laco: --report [^\\n]*: needs \\d+ bytes but \\d+ are free[^\\n]*\\n"),
        run.err());
    assertEquals("code 4, left:\n", run.out());
    assertEquals(before, TestFiles.names(folder));
  }

  /**
   * Prunes with a file system of its own in memory at {@code disk}, which goes away with the
   * process; the last line tells what was left there.
   */
  private ProgramRun onSmallDisk(Path disk, String size, Path out, Object... more)
      throws Exception {
    List<Object> arguments =
        new ArrayList<>(List.of("prune", MODEL, out, "--calibration", calibration));
    arguments.addAll(List.of(more));
    List<String> command = new ArrayList<>(List.of("unshare", "--mount"));
    if (!Files.isWritable(Path.of("/root"))) {
      command.addAll(List.of("--user", "--map-root-user"));
    }
    String script =
        String.format(
            Locale.ROOT,
            "mount -t tmpfs -o size=%s tmpfs '%s' || exit; \"$@\"; echo \"code $?, left:\"; ls -A '%s'",
            size,
            disk,
            disk);
    command.addAll(List.of("sh", "-c", script, "sh"));
    command.addAll(ProgramRun.java(Main.class, arguments.toArray()).command());
    return ProgramRun.of(new ProcessBuilder(command).start());
  }

  @Test
  void aFitWithoutItsLibraryIsRefusedBeforeTheSearch() throws Exception {
    List<String> before = TestFiles.names(folder);
    ProcessBuilder builder =
        ProgramRun.java(
            Main.class,
            "prune",
            MODEL,
            folder.resolve("out"),
            "--calibration",
            calibration,
            "--rule",
            "fit",
            "--fit-text",
            calibration);
    builder.command().add(builder.command().indexOf("-cp"), "-Dlaco.native.openblas=/no.so");
    ProgramRun run = ProgramRun.of(builder.start());
    assertEquals(4, run.code());
    assertTrue(run.err().matches("laco: [^\\n]*openblas[^\\n]*--rule drop\\n"), run.err());
    assertEquals("", run.out());
    assertEquals(before, TestFiles.names(folder));
  }

  /** The models of the sweep itself are not fitted. */
  @Test
  void aComparisonWithoutItsLibraryIsRefusedBeforeTheSweep() throws Exception {
    Path curve = folder.resolve("curve");
    ProcessBuilder builder =
        ProgramRun.java(
            Main.class,
            "sweep",
            MODEL,
            "--out",
            curve,
            "--layers",
            20,
            "--rule",
            "drop",
            "--compare",
            "laco-fit",
            "--calibration",
            calibration,
            "--eval-tokens",
            calibration,
            "--fit-text",
            calibration);
    builder.command().add(builder.command().indexOf("-cp"), "-Dlaco.native.openblas=/no.so");
    ProgramRun run = ProgramRun.of(builder.start());
    assertEquals(4, run.code());
    assertTrue(run.err().matches("(?s).*laco: [^\\n]*openblas[^\\n]*--rule drop\\n"), run.err());
    assertEquals(List.of("request.json"), TestFiles.names(curve));
  }

  @Test
  void theWorkingFolderCanBeTheTarget() throws Exception {
    Path here = Files.createDirectory(folder.resolve("here"));
    ProgramRun run =
        ProgramRun.of(
            ProgramRun.java(
                    Main.class, "prune", MODEL, ".", "--calibration", calibration, "--threshold", 1)
                .directory(here.toFile())
                .start());
    run.succeeded();
    assertTrue(Files.exists(here.resolve("config.json")));
    assertEquals(24, Fixtures.read(folder.resolve("here.report.json")).get("layersOut").intValue());
  }

  @Test
  void exitCodesReachTheShellAndTextIsUtf8InAnyLocale() throws Exception {
    Path missing = folder.resolve("a–b");
    ProcessBuilder builder = ProgramRun.java(Main.class, "inspect", missing);
    builder.environment().put("LC_ALL", "C.UTF-8");
    ProgramRun run = ProgramRun.of(builder.start());
    assertEquals(3, run.code());
    assertEquals("", run.out());
    assertTrue(run.err().contains("a–b"), run.err());
    assertEquals(2, ProgramRun.of(ProgramRun.java(Main.class, "inspect").start()).code());
  }

  @Test
  void theTrainedModelStaysWithinItsMemory() throws Exception {
    assertMemory(
        Fixtures.STORYTELLER,
        "prune",
        Fixtures.STORYTELLER,
        folder.resolve("out"),
        "--threshold",
        0.9);
  }

  @Test
  void aLargerModelStaysWithinItsMemory() throws Exception {
    Path model = largeModel();
    Path tokens =
        TestFiles.write(folder.resolve("ids.json"), "[[1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11]]");
    JsonNode report =
        assertMemory(
            model,
            "prune",
            model,
            folder.resolve("out"),
            "--calibration",
            tokens,
            "--eval-tokens",
            tokens,
            "--rule",
            "rdsc",
            "--threshold",
            -1,
            "--merge-layers",
            2,
            "--lowest",
            14);
    // Hardly smaller than the original: what was written and is read back must not add to the peak.
    assertEquals(15, report.get("layersOut").intValue());
  }

  /** Peak resident memory, mapped files included, with the launcher's heap of 256 MB. */
  private JsonNode assertMemory(Path model, Object... arguments) throws Exception {
    ProgramRun run = ProgramRun.of(ProgramRun.java(PeakMemory.class, arguments).start());
    run.succeeded();
    Matcher peak = Pattern.compile("VmHWM:\\s+(\\d+) kB").matcher(run.err());
    assertTrue(peak.find(), run.err());
    long bytes = 1024 * Long.parseLong(peak.group(1));
    long checkpoint;
    try (Stream<Path> files = Files.list(model)) {
      checkpoint =
          files
              .filter(file -> file.toString().endsWith(".safetensors"))
              .mapToLong(file -> file.toFile().length())
              .sum();
    }
    long allowed = (long) (1.3 * checkpoint) + 400_000_000;
    assertTrue(bytes <= allowed, bytes + " bytes of " + allowed);
    return Fixtures.read(folder.resolve("out.report.json"));
  }

  /** Says at its end how much memory it had at most. */
  static final class PeakMemory {
    private PeakMemory() {}

    public static void main(String[] arguments) {
      Runtime.getRuntime()
          .addShutdownHook(
              new Thread(
                  () -> {
                    try (Stream<String> lines = Files.lines(Path.of("/proc/self/status"))) {
                      lines.filter(line -> line.startsWith("VmHWM")).forEach(System.err::println);
                    } catch (IOException e) {
                      e.printStackTrace();
                    }
                  }));
      Main.main(arguments);
    }
  }

  /** A llama of 16 layers, 490 MB in bf16, of random weights. */
  private Path largeModel() {
    int hidden = 1024;
    int intermediate = 4096;
    int vocabulary = 2048;
    int depth = 16;
    Path model = folder.resolve("large");
    TestFiles.write(
        mkdir(model).resolve("config.json"),
        String.format(
            Locale.ROOT,
            """
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
         "hidden_size": %d, "intermediate_size": %d, "vocab_size": %d, "num_hidden_layers": %d,
         "num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings": 256,
         "rms_norm_eps": 1e-5, "tie_word_embeddings": true}
        """,
            hidden,
            intermediate,
            vocabulary,
            depth));
    byte[] block = block();
    List<OutputTensor> tensors = new ArrayList<>();
    tensors.add(matrix("model.embed_tokens.weight", vocabulary, hidden, block));
    tensors.add(ones("model.norm.weight", hidden));
    for (int i = 0; i < depth; i++) {
      String layer = "model.layers." + i + ".";
      tensors.add(ones(layer + "input_layernorm.weight", hidden));
      tensors.add(ones(layer + "post_attention_layernorm.weight", hidden));
      tensors.add(matrix(layer + "self_attn.q_proj.weight", hidden, hidden, block));
      tensors.add(matrix(layer + "self_attn.k_proj.weight", hidden / 4, hidden, block));
      tensors.add(matrix(layer + "self_attn.v_proj.weight", hidden / 4, hidden, block));
      tensors.add(matrix(layer + "self_attn.o_proj.weight", hidden, hidden, block));
      tensors.add(matrix(layer + "mlp.gate_proj.weight", intermediate, hidden, block));
      tensors.add(matrix(layer + "mlp.up_proj.weight", intermediate, hidden, block));
      tensors.add(matrix(layer + "mlp.down_proj.weight", hidden, intermediate, block));
    }
    new SafetensorsWriter(tensors).write(model.resolve("model.safetensors"), bytes -> {});
    return model;
  }

  /** A prime number of bf16 values around 0.02, of both signs. */
  private static byte[] block() {
    byte[] block = new byte[2 * 524_287];
    new Random(6).nextBytes(block);
    for (int i = 1; i < block.length; i += 2) {
      block[i] = (byte) ((block[i] & 0x80) | 0x3c);
    }
    return block;
  }

  private static OutputTensor matrix(String name, long rows, long columns, byte[] block) {
    long size = rows * columns * DType.BF16.byteSize();
    // Another part of the block for every tensor.
    int shift = 2 * Math.floorMod(name.hashCode(), 1000);
    return new OutputTensor(
        name,
        DType.BF16,
        List.of(rows, columns),
        target -> {
          write(target, block, shift, (int) Math.min(size, block.length - shift));
          for (long at = block.length - shift; at < size; at += block.length) {
            write(target, block, 0, (int) Math.min(size - at, block.length));
          }
        });
  }

  private static OutputTensor ones(String name, int length) {
    byte[] bytes = new byte[2 * length];
    for (int i = 0; i < bytes.length; i += 2) {
      bytes[i] = (byte) 0x80;
      bytes[i + 1] = 0x3f;
    }
    return new OutputTensor(
        name, DType.BF16, List.of((long) length), target -> write(target, bytes, 0, bytes.length));
  }

  private static void write(FileChannel target, byte[] bytes, int offset, int length)
      throws IOException {
    ByteBuffer buffer = ByteBuffer.wrap(bytes, offset, length);
    while (buffer.hasRemaining()) {
      target.write(buffer);
    }
  }

  private static Path mkdir(Path folder) {
    try {
      return Files.createDirectory(folder);
    } catch (IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
  }
}
