package dev.laco.evaluate;

import dev.laco.report.LastWord;
import dev.laco.report.Perplexity;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** What was measured of a model. */
public sealed interface EvaluateResult {
  /**
   * How well a model predicts a text, and what other models lost against it.
   *
   * @param text names the text for people
   * @param perplexity perplexity on the text
   * @param tokensPerByte tokens of the text for each of its bytes in UTF-8, special tokens left
   *     out; 0 of token lists
   * @param parts perplexity by parts of the text, of which a bootstrap draws
   * @param part what a part is: {@code document}, {@code window} or {@code list}
   * @param against the other models, in the order in which they were given
   */
  record OfText(
      String text,
      Perplexity perplexity,
      double tokensPerByte,
      Metric parts,
      String part,
      List<TextComparison> against)
      implements EvaluateResult {
    public OfText {
      against = List.copyOf(against);
    }

    /**
     * Bits for each byte of the text, {@code meanNll / ln 2} times the tokens for each byte (Gao et
     * al. 2020); 0 of token lists.
     */
    public double bitsPerByte(Perplexity of) {
      return of.meanNll() / Math.log(2) * tokensPerByte;
    }
  }

  /**
   * How often a model knows the last word of a passage, and what other models lost against it.
   *
   * @param passages names the passages for people
   * @param lastWord how often
   * @param against the other models, in the order in which they were given
   */
  record OfPassages(String passages, LastWord lastWord, List<LastWordComparison> against)
      implements EvaluateResult {
    public OfPassages {
      against = List.copyOf(against);
    }
  }

  /**
   * How good a model is at tasks, and what other models lost against it.
   *
   * @param results the results of the model
   * @param groups the groups of tasks that were asked for
   * @param against the other models beside it, in the order in which they were given
   * @param sample what was measured within a time; null where no time was given
   * @param text the perplexity of all models; null where it was not asked for
   * @param throughput how fast all models are; null where it was not asked for
   */
  record OfTasks(
      TaskResults results,
      List<Task.Group> groups,
      List<TaskComparison> against,
      @Nullable ItemSample sample,
      @Nullable OfText text,
      @Nullable OfThroughput throughput)
      implements EvaluateResult {
    public OfTasks {
      groups = List.copyOf(groups);
      against = List.copyOf(against);
    }
  }

  /**
   * How fast models are.
   *
   * @param promptTokens tokens of the prompt that is read
   * @param writtenTokens tokens that are written
   * @param models the model of the job, then the others in the order in which they were given
   */
  record OfThroughput(int promptTokens, int writtenTokens, List<Throughput> models)
      implements EvaluateResult {
    public OfThroughput {
      models = List.copyOf(models);
    }
  }
}
