package dev.laco.cli;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import dev.laco.ByteSize;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.StagedFile;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.export.GgufExport;
import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.prune.PruneStages;
import java.io.IOException;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Writes a checkpoint as a GGUF file. */
@Command(
    name = "export",
    description = "Write a checkpoint as a GGUF file, for llama.cpp. Needs no device.",
    mixinStandardHelpOptions = true,
    customSynopsis = "laco export MODEL OUT.gguf [OPTIONS]",
    versionProvider = Version.class,
    footer = {"", "Example:", "  laco export out/storyteller-small out/storyteller-small.gguf"})
@HelpSection.In(HelpSection.OUTPUT)
final class ExportCommand implements Callable<Integer> {
  @Parameters(index = "0", paramLabel = "MODEL", description = LacoCommand.MODEL)
  Path model;

  @Parameters(index = "1", paramLabel = "OUT.gguf", description = "File to write.")
  Path out;

  @Option(
      names = "--dtype",
      paramLabel = "TYPE",
      description =
          "Element type of matrices: f32, f16, bf16 or q8_0 (8 bits). Default: that of the checkpoint's"
              + " matrices; of quantised ones the type of their values, f32 or bf16. Vectors are f32.")
  @Nullable MatrixType dtype;

  @Option(
      names = "--overwrite",
      description =
          "Replace OUT.gguf if it is a GGUF file; what is old stays until the new is complete.")
  boolean overwrite;

  @Mixin OutputOptions output;

  @Override
  public Integer call() throws IOException {
    Console console = output.console();
    try (Checkpoint checkpoint = Checkpoint.open(Model.folder(model));
        SideFiles files = new SideFiles(null, checkpoint.directory())) {
      PlanApplier.checkFile(checkpoint, out, overwrite);
      SideFiles.SideFile file =
          files.add("OUT.gguf", out, real -> StagedFile.createGguf(real, overwrite));
      GgufType type = dtype == null ? GgufExport.exact(checkpoint.matrixType()) : dtype.inGguf();
      GgufExport export = new GgufExport(checkpoint, type, console::warning);
      console.job().expect(PruneStages.WRITE, PlanApplier.estimatedSeconds(export.tensorBytes()));
      console.expectation();
      try (JobProgress.Stage progress = console.progress(PruneStages.WRITE)) {
        export.write(file.begin(), more -> progress.advance(more, export.tensorBytes()));
      }
      files.publish();
      console.resultLine(
          "wrote",
          "%s: %d layers, %s, %s",
          out,
          checkpoint.config().numHiddenLayers(),
          type.shortName(),
          ByteSize.show(export.tensorBytes()));
      if (output.json) {
        console.document(
            JsonNodeFactory.instance
                .objectNode()
                .put("layers", checkpoint.config().numHiddenLayers())
                .put("dtype", type.shortName())
                .put("bytes", export.tensorBytes()));
      }
    }
    return 0;
  }
}
