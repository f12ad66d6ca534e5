package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.UsageException;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.TestTensors;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.model.HostTensor;
import dev.laco.model.NewWeights;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What {@code --plan} leaves beside a checkpoint, with and without new tensors. */
class PlanFilesTest {
  private static final Path MODEL = Fixtures.model("mistral_std");
  private static final PlanTensors NONE = new PlanTensors(NewWeights.NONE);

  @TempDir Path folder;
  private Checkpoint model;
  private CollapsePlan plan;

  @BeforeEach
  void open() {
    model = Checkpoint.open(MODEL);
    plan =
        CollapsePlan.identity(PlanApplier.source(model))
            .fold(2, 3, MergeRule.parse("drop"), NormsPolicy.BASE);
  }

  @AfterEach
  void close() {
    model.close();
  }

  private PlanTensors changed(String suffix) {
    String name = "model.layers.2." + suffix;
    HostTensor tensor = TestTensors.changed(model.tensor(name), name);
    return new PlanTensors(NewWeights.NONE.with(tensor));
  }

  private void publish(Path file, PlanTensors tensors) throws IOException {
    try (SideFiles files = new SideFiles(folder.resolve("out"), MODEL)) {
      PlanFiles.add(files, file, false).write(plan, tensors);
      files.publish();
    }
  }

  @Test
  void twoPlansOfOneFolderReplayEachItsOwnTensors() throws IOException {
    for (String suffix : List.of("mlp.down_proj.weight", "self_attn.o_proj.weight")) {
      PlanTensors tensors = changed(suffix);
      Path out = folder.resolve("out." + suffix);
      new PlanApplier(model, plan, tensors, 100_000, warning -> {})
          .write(out, false, bytes -> {}, () -> {});
      publish(folder.resolve("plans", suffix + ".json"), tensors);
    }
    assertEquals(
        List.of(
            "mlp.down_proj.weight.json",
            "mlp.down_proj.weight.safetensors",
            "self_attn.o_proj.weight.json",
            "self_attn.o_proj.weight.safetensors"),
        TestFiles.names(folder.resolve("plans")));
    for (String suffix : List.of("mlp.down_proj.weight", "self_attn.o_proj.weight")) {
      Path file = folder.resolve("plans", suffix + ".json");
      Path again = folder.resolve("again." + suffix);
      Laco.run("apply", file, MODEL, again, "--max-shard-size", 100_000).succeeded();
      TestFiles.assertSameTree(folder.resolve("out." + suffix), again);
    }
  }

  @Test
  void whatAKilledRunLeftIsNotTakenForTheTensorsOfAnOrdinaryPlan() throws IOException {
    TestFiles.write(folder.resolve(".laco-0123456789abcdef.lock"), "p.safetensors");
    Path left = Files.createDirectory(folder.resolve(".laco-0123456789abcdef.new"));
    TestFiles.write(left.resolve("p.safetensors"), "half a file");
    publish(folder.resolve("p.json"), NONE);
    assertEquals(List.of("p.json"), TestFiles.names(folder));
    assertEquals(plan.toJsonText(), Files.readString(folder.resolve("p.json")));
  }

  @Test
  void aRunThatFailsBeforeTheEndLeavesNeither() throws IOException {
    try (SideFiles files = new SideFiles(null, MODEL)) {
      PlanFiles.add(files, folder.resolve("p.json"), false)
          .write(plan, changed("mlp.down_proj.weight"));
      assertEquals(
          4,
          TestFiles.names(folder).stream()
              .filter(name -> name.matches("\\.laco-[0-9a-f]{16}\\.(lock|new)"))
              .count());
      assertEquals(4, TestFiles.names(folder).size());
    }
    assertEquals(List.of(), TestFiles.names(folder));
  }

  /** Neither run writes into the other's file, and the one that ends last gives the name. */
  @Test
  void twoRunsThatWriteOneFileWriteEachItsOwn() throws IOException {
    Path file = folder.resolve("out.gguf");
    try (SideFiles one = new SideFiles(null, MODEL);
        SideFiles other = new SideFiles(null, MODEL)) {
      Path whole = one.add("OUT.gguf", file).begin();
      TestFiles.write(whole, "whole");
      Path half = other.add("OUT.gguf", file).begin();
      TestFiles.write(half, "half");
      one.publish();
      assertEquals("whole", Files.readString(file));
    }
    assertEquals("whole", Files.readString(file));
    assertEquals(List.of("out.gguf"), TestFiles.names(folder));
  }

  @Test
  void aNameWithoutAnEndingGetsOneForTheTensors() throws IOException {
    publish(folder.resolve("plan"), changed("mlp.down_proj.weight"));
    publish(folder.resolve(".hidden"), changed("mlp.down_proj.weight"));
    assertEquals(
        List.of(".hidden", ".hidden.safetensors", "plan", "plan.safetensors"),
        TestFiles.names(folder));
  }

  @Test
  void aFileThatNoPlanNamesIsNotReplaced() throws IOException {
    Path weights = TestFiles.write(folder.resolve("model.safetensors"), "weights of another model");
    Path plan = folder.resolve("model.json");
    for (String there : new String[] {null, "{}", this.plan.toJsonText()}) {
      if (there != null) {
        TestFiles.write(plan, there);
      }
      ProgramRun run = Laco.run("prune", MODEL, folder.resolve("out"), "--plan", plan);
      assertEquals(2, run.code(), run.err());
      assertTrue(run.err().contains(weights + " beside it may be replaced"), run.err());
    }
    assertEquals("weights of another model", Files.readString(weights));
  }

  @Test
  void thePlanOfAnEarlierRunIsReplacedWithItsTensors() throws IOException {
    publish(folder.resolve("p.json"), changed("mlp.down_proj.weight"));
    publish(folder.resolve("p.json"), changed("self_attn.o_proj.weight"));
    Laco.run("apply", folder.resolve("p.json"), MODEL, folder.resolve("out")).succeeded();
  }

  @Test
  void thePlanCannotHaveTheNameOfItsTensors() throws IOException {
    try (SideFiles files = new SideFiles(null, MODEL)) {
      assertThrows(
          UsageException.class, () -> PlanFiles.add(files, folder.resolve("p.safetensors"), false));
    }
  }
}
