package dev.laco.cli;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.LacoException;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A weight file that another process cuts short while native code reads it. */
class LostPagesTest {
  private static final Path SHARD = Path.of("model.safetensors");

  @TempDir Path folder;
  private Path here;
  private Path model;

  @BeforeEach
  void copyModel() throws IOException {
    here = Files.createDirectory(folder.resolve("here"));
    model = Files.createDirectory(folder.resolve("model"));
    for (String name : TestFiles.names(Fixtures.STORYTELLER)) {
      Files.copy(Fixtures.STORYTELLER.resolve(name), model.resolve(name));
    }
  }

  /** Multiplies with a matrix whose file has just lost it. */
  static final class Multiply {
    private Multiply() {}

    public static void main(String[] args) throws IOException {
      boolean survives = args[1].equals("survives");
      try (Checkpoint checkpoint = Checkpoint.open(Path.of(args[0]));
          Backend backend = CpuBackend.open(Compute.F32, 2);
          TensorArena arena = backend.arena()) {
        HostTensor weight = checkpoint.tensor("model.layers.8.mlp.up_proj.weight");
        long rows = weight.shape().get(0);
        long columns = weight.shape().get(1);
        Tensor x = arena.allocate(DType.F32, 40, columns);
        Tensor out = arena.allocate(DType.F32, 40, rows);
        checkpoint.release();
        if (survives) {
          LostPages.watch(backend.info().kind());
        }
        cut(Path.of(args[0]));
        backend.linear(x, backend.weight(weight), null, out);
        checkpoint.release();
      } catch (LacoException e) {
        System.err.println(e.getMessage());
        System.exit(ExitCode.of(e));
      }
    }
  }

  private static void cut(Path model) throws IOException {
    try (RandomAccessFile file = new RandomAccessFile(model.resolve(SHARD).toFile(), "rw")) {
      file.setLength(file.length() / 4);
    }
  }

  @Test
  void aProductWithWhatWasLostIsAnErrorAndNotTheEndOfTheProcess() throws Exception {
    ProgramRun run = multiply("survives");
    assertEquals(3, run.code(), run.out() + run.err());
    assertEquals(
        model.resolve(SHARD) + ": was cut short while it was read: copy the model again\n",
        run.err());
    assertEquals("", run.out());
    assertEquals(List.of(), TestFiles.names(here));
  }

  @Test
  void aProgramThatDoesNotAskForItKeepsItsSignals() throws Exception {
    ProgramRun run = multiply("dies");
    assertTrue(run.out().contains("SIGBUS"), run.out() + run.err());
  }

  private ProgramRun multiply(String how) throws IOException {
    ProcessBuilder builder = ProgramRun.java(Multiply.class, model, how);
    builder
        .command()
        .addAll(
            builder.command().indexOf("-cp"),
            List.of("-XX:ErrorFile=/dev/null", "-XX:-CreateCoredumpOnCrash"));
    return ProgramRun.of(builder.directory(here.toFile()).start());
  }

  @Test
  void aSearchOnTheProcessorEndsWithTheFilesName() throws Exception {
    Path out = folder.resolve("out");
    Process process =
        ProgramRun.java(Main.class, "prune", model, out, "--threshold", 1, "--device", "cpu")
            .directory(here.toFile())
            .start();
    BufferedReader lines = process.inputReader();
    String line = lines.readLine();
    while (line != null && !line.contains("rejected")) {
      line = lines.readLine();
    }
    cut(model);
    String err = new String(process.getErrorStream().readAllBytes(), UTF_8);
    assertEquals(3, process.waitFor(), err);
    assertTrue(
        ProgramRun.withoutTimes(err).matches("laco: [^\\n]*" + SHARD + ": was [^\\n]+\\n"), err);
    assertTrue(lines.lines().noneMatch(l -> l.startsWith("#")));
    assertEquals(List.of(), TestFiles.names(here));
    assertEquals(List.of("here", "model"), TestFiles.names(folder));
  }
}
