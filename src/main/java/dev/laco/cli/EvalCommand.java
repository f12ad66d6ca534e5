package dev.laco.cli;

import dev.laco.UsageException;
import dev.laco.backend.Backend;
import dev.laco.eval.Perplexity;
import dev.laco.report.PruneReport;
import dev.laco.transformer.CausalLm;
import java.io.IOException;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Measures the perplexity of a model. */
@Command(
    name = "eval",
    description = "Measure perplexity on a text or on token-id lists.",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    footer = {
      "",
      "Example:",
      "  laco eval models/storyteller --text models/storyteller/evaluation.txt"
    })
final class EvalCommand implements Callable<Integer> {
  @Parameters(paramLabel = "MODEL", description = "Folder of a Hugging Face checkpoint.")
  Path model;

  @ArgGroup @Nullable Source source;

  @Option(
      names = "--max-length",
      paramLabel = "N",
      description = "Tokens of a window. Default: the smaller of max_position_embeddings and 2048.")
  @Nullable Integer maxLength;

  @Option(
      names = "--stride",
      paramLabel = "N",
      description = "Tokens from one window to the next. Default: --max-length.")
  @Nullable Integer stride;

  @Option(
      names = "--dump",
      paramLabel = "FILE.safetensors",
      description =
          "Write <i>.final_hidden and <i>.logits of every list or window, and <i>.tokens of a"
              + " window, f32.")
  @Nullable Path dump;

  @Mixin DeviceOptions device;
  @Mixin OutputOptions output;

  /** What to score. */
  static final class Source {
    @Option(
        names = "--text",
        paramLabel = "FILE",
        description = "A text file. Default: the model's evaluation.txt, else a built-in text.")
    @Nullable Path text;

    @Option(
        names = "--tokens",
        paramLabel = "FILE.json",
        description =
            "A list of token-id lists; each is scored on its own, all but its first token.")
    @Nullable Path tokens;
  }

  @Override
  public Integer call() throws IOException {
    EvaluationText.checkLengths(maxLength, stride);
    Console console = output.console();
    try (OpenModel open = OpenModel.open(model);
        SideFiles files = new SideFiles(model, null)) {
      EvaluationText text = text(open);
      SideFiles.SideFile dumpFile = dump == null ? null : files.add("--dump", dump);
      Backends.Choice choice = device.open();
      try (Backend backend = choice.backend()) {
        console.line("device", "%s", choice.describe());
        console.line("model", "%s: %s", model, open.describe());
        MemoryPlan memory =
            MemoryPlan.of(
                backend,
                open.checkpoint(),
                device,
                Perplexity.bytes(open.config(), text.windows()),
                1,
                "use a smaller --max-length");
        console.line("memory", "%s", memory.describe(backend));
        CausalLm lm = CausalLm.of(backend, open.config(), memory.weights(backend));
        Perplexity result = text.measure(console, "perplexity", lm);
        if (dumpFile != null) {
          StateDump.write(
              lm, text.windows(), source == null || source.tokens == null, dumpFile.begin());
          files.publish();
          console.line("dump", "%s", dumpFile.file());
        }
        say(console, text, result);
      }
    }
    return 0;
  }

  private EvaluationText text(OpenModel open) {
    int length = maxLength == null ? 0 : maxLength;
    int step = stride == null ? 0 : stride;
    if (source == null) {
      return EvaluationText.ownOrBuiltIn(open, length, step);
    }
    if (source.text != null) {
      return EvaluationText.text(source.text, open, length, step);
    }
    if (source.tokens == null || length != 0 || step != 0) {
      throw new UsageException("--max-length and --stride cut text; token-id lists are never cut");
    }
    return EvaluationText.tokens(source.tokens, open);
  }

  private void say(Console console, EvaluationText text, Perplexity result) {
    if (output.json) {
      console.document(PruneReport.toJson(result));
    } else {
      console.result(
          "%-12s %.4f (mean NLL %.6f nats over %,d tokens of %s)%n"
              .formatted(
                  "perplexity",
                  result.perplexity(),
                  result.meanNll(),
                  result.tokens(),
                  text.name()));
    }
  }
}
