package dev.laco.cli;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import dev.laco.BadInputException;
import dev.laco.InputJson;
import dev.laco.Model;
import dev.laco.UsageException;
import dev.laco.backend.Backend;
import dev.laco.eval.Generator;
import dev.laco.eval.Sampler;
import dev.laco.run.MemoryPlan;
import dev.laco.run.OpenDevice;
import dev.laco.text.StreamingDecoder;
import dev.laco.text.TokenLists;
import dev.laco.text.Tokenizer;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.RunningModel;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Locale;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Lets a model continue a prompt, to look at what a pruned one says. */
@HelpSection.In(HelpSection.GENERATE)
@Command(
    name = "generate",
    description = "Let a model continue a prompt.",
    mixinStandardHelpOptions = true,
    customSynopsis = "laco generate MODEL --prompt TEXT [OPTIONS]",
    versionProvider = Version.class,
    footer = {"", "Example:", "  laco generate models/storyteller --prompt \"Once upon a time\""})
final class GenerateCommand implements Callable<Integer> {
  private static final int MAX_TOKENS = 1 << 26;

  @Parameters(paramLabel = "MODEL", description = LacoCommand.MODEL)
  Path model;

  @Option(
      names = "--prompt",
      paramLabel = "TEXT",
      required = true,
      description = "What to continue.")
  String prompt;

  @Option(
      names = "--max-tokens",
      paramLabel = "N",
      defaultValue = "100",
      description = "At most so many new tokens. Default: ${DEFAULT-VALUE}.")
  int maxTokens;

  @Option(
      names = "--temperature",
      paramLabel = "T",
      defaultValue = "0.8",
      description =
          "Sample with this temperature; 0 is greedy, the likeliest token each time. Default: ${DEFAULT-VALUE}.")
  double temperature;

  @Option(
      names = "--top-p",
      paramLabel = "P",
      defaultValue = "0.95",
      description =
          "Sample from the likeliest tokens that make up this probability. Default: ${DEFAULT-VALUE}.")
  double topP;

  @Option(
      names = "--seed",
      paramLabel = "N",
      defaultValue = "0",
      description =
          "Seed of sampling: the same seed gives the same text. Default: ${DEFAULT-VALUE}.")
  long seed;

  @Mixin DeviceOptions device;
  @Mixin OutputOptions output;

  @Override
  public Integer call() {
    checkOptions();
    Console console = output.console();
    try (Model open = Model.open(model)) {
      Tokenizer tokenizer =
          open.tokenizer()
              .orElseThrow(
                  () ->
                      new BadInputException(
                          model + ": generate needs a tokenizer.json; there is none"));
      int[] ids = tokenizer.encode(prompt);
      if (ids.length == 0) {
        throw new UsageException("--prompt is empty and the model's tokenizer adds no BOS token");
      }
      TokenLists.requireInVocabulary("--prompt", ids, open.config().vocabSize());
      Set<Integer> stop = stopTokens(open);
      int length = Math.addExact(ids.length, maxTokens);
      if (length > open.config().maxPositionEmbeddings()) {
        console.warning(
            String.format(
                Locale.ROOT,
                "prompt and new tokens, %d, go beyond the model's %d positions",
                length,
                open.config().maxPositionEmbeddings()));
      }
      try (OpenDevice opened = device.open(open, console)) {
        Backend backend = opened.backend();
        console.note("device", opened.describe(open));
        MemoryPlan memory =
            MemoryPlan.of(
                backend,
                open.checkpoint(),
                device.settings(),
                MemoryPlan.Beside.buffers(Generator.bytes(open.config(), ids.length, maxTokens)),
                1,
                "use a smaller --max-tokens or a shorter --prompt");
        console.note("memory", memory.describe(backend));
        console.note("sampling", sampling());
        CausalLm lm = new RunningModel(backend, open.config(), memory.weights(backend)).original();
        generate(console, lm, tokenizer, ids, stop);
      }
    }
    return 0;
  }

  private void checkOptions() {
    if (maxTokens < 1 || maxTokens > MAX_TOKENS) {
      throw new UsageException("--max-tokens " + maxTokens + ": expected 1 to " + MAX_TOKENS);
    }
    if (!(temperature >= 0) || !Double.isFinite(temperature)) {
      throw new UsageException(
          "--temperature " + temperature + ": expected a number of at least 0");
    }
    if (!(topP > 0 && topP <= 1)) {
      throw new UsageException("--top-p " + topP + ": expected a number above 0, at most 1");
    }
  }

  private String sampling() {
    return temperature == 0
        ? "greedy: the likeliest token each time"
        : String.format(
            Locale.ROOT,
            "temperature %s, top-p %s, seed %d; --temperature 0 is greedy",
            temperature,
            topP,
            seed);
  }

  private void generate(
      Console console, CausalLm lm, Tokenizer tokenizer, int[] ids, Set<Integer> stop) {
    // How the first new token is written may depend on the last token of the prompt.
    StreamingDecoder decoder = tokenizer.streamingDecoder();
    for (int id : ids) {
      decoder.append(id);
    }
    if (!output.json) {
      console.said(prompt);
    }
    StringBuilder whole = new StringBuilder();
    Sampler sampler = new Sampler(temperature, topP, new Random(seed));
    long start = System.nanoTime();
    int count =
        new Generator(lm, sampler, stop)
            .generate(
                ids,
                maxTokens,
                token -> {
                  String text = decoder.append(token);
                  whole.append(text);
                  if (!output.json) {
                    console.said(text);
                  }
                });
    double seconds = (System.nanoTime() - start) / 1e9;
    String rest = decoder.finish();
    if (output.json) {
      console.document(
          JsonNodeFactory.instance
              .objectNode()
              .put("prompt", prompt)
              .put("text", whole + rest)
              .put("promptTokens", ids.length)
              .put("newTokens", count)
              .put("temperature", temperature)
              .put("topP", topP)
              .put("seed", seed));
    } else {
      console.said(rest + System.lineSeparator());
    }
    console.done(
        String.format(
            Locale.ROOT,
            "%,d prompt tokens, %,d new ones, %.1f a second",
            ids.length,
            count,
            count / seconds));
  }

  /** End-of-sequence ids: {@code generation_config.json}'s if it has any, else the config's. */
  private static Set<Integer> stopTokens(Model open) {
    Path generation = open.ownFile("generation_config.json");
    Set<Integer> stop = new HashSet<>();
    if (generation != null) {
      addIds(InputJson.readObject(generation).path("eos_token_id"), stop);
    }
    if (stop.isEmpty()) {
      addIds(open.checkpoint().configJson().path("eos_token_id"), stop);
    }
    return stop;
  }

  private static void addIds(JsonNode ids, Set<Integer> stop) {
    if (ids.isInt()) {
      stop.add(ids.intValue());
    }
    for (JsonNode id : ids) {
      // What is beyond int is no token and stops nothing.
      if (id.isInt()) {
        stop.add(id.intValue());
      }
    }
  }
}
