package dev.laco.cli;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import dev.laco.Model;
import dev.laco.UsageException;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.eval.LastWord;
import dev.laco.eval.Perplexity;
import dev.laco.report.PruneReport;
import dev.laco.run.EvaluationText;
import dev.laco.run.JobEstimate;
import dev.laco.run.JobProgress;
import dev.laco.run.MemoryPlan;
import dev.laco.run.OpenDevice;
import dev.laco.run.Passages;
import dev.laco.text.ClozeSet;
import dev.laco.text.TextWindows.Window;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.RunningModel;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Measures the perplexity of a model, or how often it knows a last word. */
@HelpSection.In(HelpSection.MEASURE)
@Command(
    name = "eval",
    description = "Measure perplexity on a text or on token-id lists, or knowledge of last words.",
    mixinStandardHelpOptions = true,
    customSynopsis = "laco eval MODEL [OPTIONS]",
    versionProvider = Version.class,
    footer = {
      "",
      "Example:",
      "  laco eval models/storyteller --text models/storyteller/evaluation.txt"
    })
final class EvalCommand implements Callable<Integer> {
  @Parameters(paramLabel = "MODEL", description = LacoCommand.MODEL)
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

  /** What picocli gives for {@code --last-word} alone. */
  private static final Path BUILT_IN = Path.of("");

  private static final String PERPLEXITY = "perplexity";
  private static final String LAST_WORD = "last word";

  @Mixin DeviceOptions device;
  @Mixin OutputOptions output;

  /** What to score. */
  @HelpSection.In(HelpSection.MEASURE)
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

    @Option(
        names = "--last-word",
        paramLabel = "FILE.jsonl",
        arity = "0..1",
        fallbackValue = "",
        description =
            "Measure instead how often the last word of a passage is known. Objects a line: the"
                + " passage without it (text), and the word (last). Default: built-in passages.")
    @Nullable Path lastWord;
  }

  @Override
  public Integer call() throws IOException {
    requirePositive("--max-length", maxLength);
    requirePositive("--stride", stride);
    Console console = output.console();
    try (Model open = Model.open(model)) {
      if (source != null && source.lastWord != null) {
        lastWord(console, open, source.lastWord);
      } else {
        perplexity(console, open);
      }
      console.next(next(open));
    }
    return 0;
  }

  /** What people do with a model that they have measured: one of ours speaks, another is pruned. */
  private String next(Model open) {
    String word = Shell.quoted(model);
    return Files.exists(open.directory().resolve(PlanApplier.PLAN))
        ? "laco generate " + word + " --prompt \"Once upon a time\""
        : "laco prune " + word + " OUT";
  }

  /** Says about how long all will take. */
  private static void expect(
      Console console, Model open, Backend backend, String stage, List<Window> windows) {
    JobEstimate estimate = new JobEstimate(open, backend);
    console.job().expect(stage, estimate.pass(windows, open.config().numHiddenLayers()));
    console.expectation();
  }

  private void perplexity(Console console, Model open) throws IOException {
    try (SideFiles files = new SideFiles(open.directory(), null)) {
      EvaluationText text = text(open);
      open.textsAreRead();
      text.warnings(open, null).forEach(console::warning);
      SideFiles.SideFile dumpFile = dump == null ? null : files.add("--dump", dump);
      try (OpenDevice opened = device.open(open, console)) {
        Backend backend = opened.backend();
        CausalLm lm =
            announce(
                console,
                open,
                opened.describe(open),
                backend,
                Perplexity.bytes(open.config(), text.windows()),
                "use a smaller --max-length");
        expect(console, open, backend, PERPLEXITY, text.windows());
        Perplexity result = text.measure(console.job(), PERPLEXITY, model, lm);
        if (dumpFile != null) {
          StateDump.write(
              lm, text.windows(), source == null || source.tokens == null, dumpFile.begin());
          files.publish();
          console.line("dump", "%s", dumpFile.file());
        }
        say(console, text, result);
      }
    }
  }

  /** The passages that {@code --last-word} names, the built-in ones where it names none. */
  static Passages passages(Path file) {
    return file.equals(BUILT_IN) ? Passages.BUILT_IN : new Passages(file);
  }

  private void lastWord(Console console, Model open, Path file) {
    if (maxLength != null || stride != null || dump != null) {
      throw new UsageException("--max-length, --stride and --dump do not go with --last-word");
    }
    ClozeSet set = passages(file).read(open);
    open.textsAreRead();
    try (OpenDevice opened = device.open(open, console)) {
      Backend backend = opened.backend();
      CausalLm lm =
          announce(
              console,
              open,
              opened.describe(open),
              backend,
              LastWord.bytes(open.config(), set.items()),
              "use shorter passages");
      expect(console, open, backend, LAST_WORD, set.items());
      LastWord result;
      try (JobProgress.Stage progress = console.progress(LAST_WORD)) {
        result = LastWord.measure(lm, set.items(), progress::update);
      }
      if (output.json) {
        console.document(
            JsonNodeFactory.instance.objectNode().set("lastWord", PruneReport.toJson(result)));
      } else {
        console.result(
            String.format(
                Locale.ROOT,
                "%-12s %.1f %% ± %.1f (%,d of %,d items of %s)%n",
                LAST_WORD,
                100 * result.accuracy(),
                100 * result.standardError(),
                result.correct(),
                result.items(),
                set.name()));
      }
    }
  }

  private CausalLm announce(
      Console console, Model open, String deviceText, Backend backend, long buffers, String helps) {
    console.line("device", "%s", deviceText);
    console.line("model", "%s: %s", open.directory(), open.describe());
    MemoryPlan memory =
        MemoryPlan.of(
            backend,
            open.checkpoint(),
            device.settings(),
            MemoryPlan.Beside.buffers(buffers),
            1,
            helps);
    console.line("memory", "%s", memory.describe(backend));
    return new RunningModel(backend, open.config(), memory.weights(backend)).original();
  }

  private static void requirePositive(String option, @Nullable Integer value) {
    if (value != null && value < 1) {
      throw new UsageException(option + " " + value + ": expected at least 1");
    }
  }

  private EvaluationText text(Model open) {
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
          String.format(
              Locale.ROOT,
              "%-12s %.4f (mean NLL %.6f nats over %,d tokens of %s)%n",
              PERPLEXITY,
              result.perplexity(),
              result.meanNll(),
              result.tokens(),
              text.name()));
    }
  }
}
