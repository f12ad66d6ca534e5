package dev.laco.heal;

import dev.laco.Model;
import dev.laco.Seconds;
import dev.laco.backend.Device;
import dev.laco.checkpoint.StopTokens;
import dev.laco.measure.Generator;
import dev.laco.measure.Sampler;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.run.JobEstimate;
import dev.laco.text.FitText;
import dev.laco.text.Tokenizer;
import dev.laco.transformer.CausalLm;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalDouble;
import java.util.Random;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Text that the original writes itself, sampled from its own predictions, for the pruned model to
 * be trained on: the only text in every amount that comes without a file. Half of the samples go on
 * from the tokens that begin a text, half from the first words of chunks of another text, which
 * spread over all kinds that it has.
 *
 * @param tokens of all samples together, at least; the last ones may go beyond. Null for as many as
 *     the time of a training is worth ({@link #worth})
 * @param prefix the tokens that begin a text; none where the tokenizer puts none before a text
 * @param stopTokens a sample ends before the first of these
 */
record TeacherSamples(@Nullable Long tokens, int[] prefix, Set<Integer> stopTokens) {
  /** The domain of samples, and the stage in which they are drawn. */
  static final String NAME = "teacher samples";

  private static final int MOST_PROMPT_TOKENS = 16;
  private static final int LEAST_PROMPT_TOKENS = 4;

  /** The samples that are drawn before they are counted; more where more are drawn at a time. */
  private static final int ROUND = 64;

  /** Rounds after which a model that writes nothing is left alone. */
  private static final int MOST_EMPTY_ROUNDS = 4;

  /** How often a training meets its text, and samples, where there is time for more. */
  private static final int PASSES = 4;

  /** The largest share of the time of a training in which samples are drawn for it. */
  private static final double MOST_SHARE = 0.25;

  /**
   * Samples of a model.
   *
   * @param tokens of all samples together; null for as many as the time of a training is worth
   */
  static TeacherSamples of(@Nullable Long tokens, Model original) {
    int[] prefix = original.tokenizer().map(Tokenizer::prefix).orElse(new int[0]);
    return new TeacherSamples(tokens, prefix, StopTokens.of(original.checkpoint()));
  }

  /**
   * How many tokens of samples are worth their time in front of a training: those with which it
   * meets text and samples {@value #PASSES} times, where it would meet the text alone more often; 0
   * for fewer than the first round draws.
   *
   * @param device that draws
   * @param seconds of drawing and training
   * @param text tokens of the text
   * @param trained seconds of training on a token
   * @param drawn seconds in which a token is drawn; empty before one was, which is taken to cost
   *     what training on it does
   */
  static long worth(
      Device device,
      ModelConfig config,
      double seconds,
      long text,
      double trained,
      OptionalDouble drawn) {
    double drawing = drawn.orElse(trained);
    double tokens =
        Math.min(
            (seconds - PASSES * text * trained) / (drawing + PASSES * trained),
            MOST_SHARE * seconds / drawing);
    long least = (long) round(device, config) * mostWritten(config);
    if (tokens < least) {
      return drawn.isEmpty() ? 0 : least;
    }
    return (long) Math.min(tokens, HealSettings.MOST_SAMPLES);
  }

  private static int round(Device device, ModelConfig config) {
    int capacity = mostPrompt(config) + mostWritten(config);
    return Math.max(ROUND, Generator.atOnce(device, config, Generator.MOST_AT_ONCE, capacity));
  }

  private static int mostWritten(ModelConfig config) {
    return Math.max(1, length(config) - mostPrompt(config));
  }

  private static int length(ModelConfig config) {
    return Math.min(FitText.CHUNK_TOKENS, config.maxPositionEmbeddings());
  }

  private static int mostPrompt(ModelConfig config) {
    return Math.clamp(length(config) / 2, 1, MOST_PROMPT_TOKENS);
  }

  /**
   * Bytes of the buffers.
   *
   * @param weights the dtype of the model's matrices
   */
  static long bytes(Device device, ModelConfig config, DType weights) {
    return Generator.bytes(
        device, config, weights, round(device, config), mostPrompt(config), mostWritten(config));
  }

  /** Estimated seconds in which a model writes so many tokens. */
  static double seconds(JobEstimate estimate, Device device, ModelConfig config, long tokens) {
    int round = round(device, config);
    int steps = Math.toIntExact(Math.ceilDiv(tokens, round));
    return estimate.generation(round, steps, config.numHiddenLayers());
  }

  /** How many tokens are to be drawn. */
  @FunctionalInterface
  interface Wanted {
    /**
     * Is asked before the first round, and behind it.
     *
     * @param seconds in which the first round drew a token
     */
    long tokens(OptionalDouble seconds);
  }

  /** Is told how far the drawing has come. */
  @FunctionalInterface
  interface Progress {
    /** So many of some tokens are drawn. */
    void drawn(long tokens, long of);
  }

  /**
   * What was drawn.
   *
   * @param chunks one for each sample
   * @param tokens that were wanted in the end, by which the same samples are drawn again
   */
  record Drawn(List<FitText.Chunk> chunks, long tokens) {}

  /**
   * Draws the samples; the same seed and number of tokens give the same ones on the same device.
   *
   * @param text from whose chunks half of the prompts are
   * @param prompting these chunks
   * @param wanted how many tokens
   * @param progress is told the tokens that are drawn
   * @param requireWanted is called between tokens
   * @return chunks whose documents are behind those of {@code text}
   */
  Drawn draw(
      CausalLm original,
      FitText text,
      List<FitText.Chunk> prompting,
      long seed,
      Wanted wanted,
      Progress progress,
      Runnable requireWanted) {
    ModelConfig config = original.config();
    int prompt = mostPrompt(config);
    int most = mostWritten(config);
    int together = round(original.backend(), config);
    Random random = new Random(seed);
    int document = text.chunks().stream().mapToInt(FitText.Chunk::document).max().orElse(-1) + 1;
    List<FitText.Chunk> samples = new ArrayList<>();
    long drawn = 0;
    int prompts = 0;
    int empty = 0;
    long tokens = wanted.tokens(OptionalDouble.empty());
    try (Generator generator =
        new Generator(original, Sampler.of(1, random), stopTokens, together, prompt, most)) {
      while (drawn < tokens && empty < MOST_EMPTY_ROUNDS) {
        long start = System.nanoTime();
        List<Sample> round = new ArrayList<>();
        long count = Math.clamp(Math.ceilDiv(tokens - drawn, most), 1L, together);
        for (int i = 0; i < count; i++) {
          Sample sample = new Sample(prompt(prompting, prompts++, prompt, random), requireWanted);
          round.add(sample);
          generator.add(sample.prompt, sample);
        }
        generator.finish();
        long before = drawn;
        for (Sample sample : round) {
          if (!sample.written.isEmpty()) {
            int[] ids = sample.ids();
            samples.add(new FitText.Chunk(ids, document++, NAME));
            drawn += ids.length;
          }
        }
        if (before == 0 && drawn > 0) {
          tokens = wanted.tokens(OptionalDouble.of(Seconds.since(start) / drawn));
        }
        progress.drawn(Math.min(drawn, tokens), tokens);
        empty = drawn == before ? empty + 1 : 0;
      }
    }
    return new Drawn(samples, tokens);
  }

  /** Every second prompt is the tokens that begin a text, where there are any. */
  private int[] prompt(List<FitText.Chunk> prompting, int number, int most, Random random) {
    if (prefix.length > 0 && number % 2 == 0) {
      return Arrays.copyOf(prefix, Math.min(most, prefix.length));
    }
    int[] ids = prompting.get(number / 2 % prompting.size()).ids();
    int wanted = Math.min(most, random.nextInt(LEAST_PROMPT_TOKENS, MOST_PROMPT_TOKENS + 1));
    return Arrays.copyOf(ids, Math.min(wanted, ids.length));
  }

  /** A sample that is being written. */
  private static final class Sample implements Generator.Continuation {
    private final int[] prompt;
    private final Runnable requireWanted;
    private final List<Integer> written = new ArrayList<>();

    private Sample(int[] prompt, Runnable requireWanted) {
      this.prompt = prompt;
      this.requireWanted = requireWanted;
    }

    @Override
    public boolean add(int token) {
      requireWanted.run();
      written.add(token);
      return true;
    }

    private int[] ids() {
      int[] ids = Arrays.copyOf(prompt, prompt.length + written.size());
      for (int i = 0; i < written.size(); i++) {
        ids[prompt.length + i] = written.get(i);
      }
      return ids;
    }
  }
}
