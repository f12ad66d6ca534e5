package dev.laco.heal;

import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.backend.Device;
import dev.laco.measure.Generator;
import dev.laco.measure.Sampler;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.run.JobEstimate;
import dev.laco.run.StopTokens;
import dev.laco.text.FitText;
import dev.laco.text.Tokenizer;
import dev.laco.transformer.CausalLm;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalInt;
import java.util.Random;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Text that the original writes itself, sampled from its own predictions, for the pruned model to
 * be trained on: the only text in every amount that comes without a file. Half of the samples go on
 * from the token that begins a text, half from the first words of chunks of another text, which
 * spread over all kinds that it has.
 *
 * @param tokens of all samples together, at least; the last ones may go beyond
 * @param bos the token that begins a text; empty where the model has none
 * @param stopTokens a sample ends before the first of these
 */
record TeacherSamples(long tokens, OptionalInt bos, Set<Integer> stopTokens) {
  /** The domain of samples, and the stage in which they are drawn. */
  static final String NAME = "teacher samples";

  private static final int MOST_PROMPT_TOKENS = 16;
  private static final int LEAST_PROMPT_TOKENS = 4;

  /** The most samples that are drawn before they are counted. */
  private static final int ROUND = 64;

  /** Rounds after which a model that writes nothing is left alone. */
  private static final int MOST_EMPTY_ROUNDS = 4;

  /** Samples of so many tokens of a model; null for 0. */
  static @Nullable TeacherSamples of(long tokens, Model original) {
    OptionalInt bos = original.tokenizer().map(Tokenizer::bos).orElse(OptionalInt.empty());
    return tokens == 0 ? null : new TeacherSamples(tokens, bos, StopTokens.of(original));
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
    int prompt = mostPrompt(config);
    int most = Math.max(1, length(config) - prompt);
    return Generator.bytes(device, config, weights, ROUND, prompt, most);
  }

  /** Estimated seconds. */
  double seconds(JobEstimate estimate, int depth) {
    return estimate.generation(ROUND, Math.toIntExact(Math.ceilDiv(tokens, ROUND)), depth);
  }

  /**
   * Draws the samples; the same seed gives the same ones on the same device.
   *
   * @param text from whose chunks half of the prompts are
   * @param requireWanted is called between tokens
   * @return one chunk for each sample, each a document behind those of {@code text}
   */
  List<FitText.Chunk> draw(
      JobProgress.Stage stage,
      CausalLm original,
      FitText text,
      List<FitText.Chunk> prompting,
      long seed,
      Runnable requireWanted) {
    ModelConfig config = original.config();
    int prompt = mostPrompt(config);
    int most = Math.max(1, length(config) - prompt);
    Random random = new Random(seed);
    int document = text.chunks().stream().mapToInt(FitText.Chunk::document).max().orElse(-1) + 1;
    List<FitText.Chunk> samples = new ArrayList<>();
    long drawn = 0;
    int prompts = 0;
    int empty = 0;
    try (Generator generator =
        new Generator(original, new Sampler(1, 1, random), stopTokens, ROUND, prompt, most)) {
      while (drawn < tokens && empty < MOST_EMPTY_ROUNDS) {
        List<Sample> round = new ArrayList<>();
        long wanted = Math.clamp(Math.ceilDiv(tokens - drawn, most), 1L, ROUND);
        for (int i = 0; i < wanted; i++) {
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
        stage.update(Math.min(drawn, tokens), tokens);
        empty = drawn == before ? empty + 1 : 0;
      }
    }
    return samples;
  }

  /** Every second prompt is the token that begins a text, where there is one. */
  private int[] prompt(List<FitText.Chunk> prompting, int number, int most, Random random) {
    if (bos.isPresent() && number % 2 == 0) {
      return new int[] {bos.getAsInt()};
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
