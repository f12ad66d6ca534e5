package dev.laco.cli;

import dev.laco.JobEvent;
import dev.laco.Model;
import dev.laco.generate.GenerateEvent;
import dev.laco.generate.GenerateJob;
import dev.laco.generate.GenerateJson;
import dev.laco.generate.GenerateRequest;
import dev.laco.generate.GenerateResult;
import java.nio.file.Path;
import java.util.Locale;
import java.util.OptionalDouble;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Lets a model continue a prompt or answer it, to look at what a pruned one says. */
@HelpSection.In(HelpSection.GENERATE)
@Command(
    name = "generate",
    description = "Let a model continue a prompt, or answer it.",
    mixinStandardHelpOptions = true,
    customSynopsis = "laco generate MODEL --prompt TEXT [OPTIONS]",
    versionProvider = Version.class,
    footer = {
      "",
      "Example:",
      "  laco generate models/storyteller --prompt \"Once upon a time\"",
      "  laco generate MODEL --chat --prompt \"What is a lighthouse?\""
    })
final class GenerateCommand implements Callable<Integer> {
  @Parameters(paramLabel = "MODEL", description = LacoCommand.MODEL)
  Path model;

  @Option(
      names = "--prompt",
      paramLabel = "TEXT",
      required = true,
      description = "What to continue; with --chat the user's message.")
  String prompt;

  @Option(
      names = "--chat",
      description = "Answer the prompt as in a chat, by the model's own chat template.")
  boolean chat;

  @Option(
      names = "--system",
      paramLabel = "TEXT",
      description = "With --chat: the system's message, which comes first.")
  @Nullable String system;

  @Option(
      names = "--max-tokens",
      paramLabel = "N",
      description = "At most so many new tokens. Default: ${DEFAULT-VALUE}.")
  int maxTokens = GenerateRequest.MAX_TOKENS;

  @Option(
      names = "--temperature",
      paramLabel = "T",
      description =
          "Sample with this temperature; 0 is greedy, the likeliest token each time. Default: ${DEFAULT-VALUE}.")
  double temperature = GenerateRequest.TEMPERATURE;

  @Option(
      names = "--top-k",
      paramLabel = "N",
      description = "Sample from the N likeliest tokens; 0 for all. Default: ${DEFAULT-VALUE}.")
  int topK = GenerateRequest.TOP_K;

  @Option(
      names = "--top-p",
      paramLabel = "P",
      description =
          "Sample from the likeliest tokens that make up this probability. Default: ${DEFAULT-VALUE}.")
  double topP = GenerateRequest.TOP_P;

  @Option(
      names = "--min-p",
      paramLabel = "P",
      description =
          "Sample from tokens that have at least this share of the likeliest one's probability; 0 for all."
              + " Default: ${DEFAULT-VALUE}.")
  double minP = GenerateRequest.MIN_P;

  @Option(
      names = "--repetition-penalty",
      paramLabel = "X",
      description =
          "Divide logits of tokens that the prompt or the text has already by this, or multiply them where they are"
              + " negative; 1 for none. Default: ${DEFAULT-VALUE}.")
  double repetitionPenalty = GenerateRequest.REPETITION_PENALTY;

  @Option(
      names = "--seed",
      paramLabel = "N",
      description =
          "Seed of sampling: the same seed gives the same text. Default: ${DEFAULT-VALUE}.")
  long seed;

  @Mixin DeviceOptions device;
  @Mixin OutputOptions output;

  @Override
  public Integer call() {
    GenerateRequest request =
        new GenerateRequest(
            prompt,
            chat,
            system,
            maxTokens,
            temperature,
            topK,
            topP,
            minP,
            repetitionPenalty,
            seed);
    Console console = output.console();
    try (Model open = Model.open(model)) {
      GenerateResult result =
          new GenerateJob(open, device.settings(), request)
              .listener(event -> say(console, event))
              .run();
      if (output.json) {
        console.document(GenerateJson.of(request, result));
      } else {
        console.said(System.lineSeparator());
      }
      console.done(summary(result));
    }
    return 0;
  }

  /** Standard output is the model's: all else goes beside it. */
  private void say(Console console, JobEvent event) {
    switch (event) {
      case JobEvent.DeviceOpened opened -> {
        LostPages.watch(opened.kind());
        console.note("device", opened.description());
      }
      case JobEvent.ModelOpened _ -> {}
      case JobEvent.MemoryPlanned memory -> {
        console.note("memory", memory.description());
        console.note("sampling", sampling());
        if (!chat) {
          said(console, prompt);
        }
      }
      case GenerateEvent.TextAdded added -> said(console, added.text());
      default -> JobLines.say(console, event);
    }
  }

  private void said(Console console, String text) {
    if (!output.json) {
      console.said(text);
    }
  }

  private static String summary(GenerateResult result) {
    String tokens =
        String.format(
            Locale.ROOT,
            "%,d prompt tokens, %,d new ones",
            result.promptTokens(),
            result.newTokens());
    OptionalDouble rate = result.tokensPerSecond();
    return rate.isEmpty()
        ? tokens
        : tokens + String.format(Locale.ROOT, ", %.1f a second", rate.getAsDouble());
  }

  private String sampling() {
    String penalty =
        repetitionPenalty == GenerateRequest.REPETITION_PENALTY
            ? ""
            : ", repetition penalty " + repetitionPenalty;
    if (temperature == 0) {
      return "greedy: the likeliest token each time" + penalty;
    }
    return "temperature "
        + temperature
        + (topK == GenerateRequest.TOP_K ? "" : ", top-k " + topK)
        + ", top-p "
        + topP
        + (minP == GenerateRequest.MIN_P ? "" : ", min-p " + minP)
        + penalty
        + ", seed "
        + seed
        + "; --temperature 0 is greedy";
  }
}
