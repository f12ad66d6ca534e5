package dev.laco.scoring;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.collapse.Score;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.NextTokens;
import dev.laco.transformer.Workspace;
import java.util.Arrays;
import java.util.stream.IntStream;

/** Scores one model against the original, with tensors that a fit has made, too. */
public final class ModelScore {
  private ModelScore() {}

  /** Runs both models over the calibration tokens; the score has a {@link Score.Language}. */
  public static Score of(CausalLm original, CausalLm pruned, PackedSequences calibration) {
    Backend backend = original.backend();
    ModelConfig config = original.config();
    long tokens = calibration.size();
    try (TensorArena arena = backend.arena();
        Workspace work = new Workspace(backend, config, tokens);
        TokenBatch batch = original.batch(calibration)) {
      Tensor reference = arena.allocate(DType.F32, tokens, config.hiddenSize());
      Tensor states = arena.allocate(DType.F32, tokens, config.hiddenSize());
      original.run(batch, reference, work);
      pruned.run(batch, states, work);
      double[] similarities = backend.cosine(reference, states, batch);
      double kl = kls(original, reference, states, batch)[0];
      double nll = nlls(pruned, states, batch)[0];
      pruned.release();
      return new Score(Arrays.stream(similarities).boxed().toList(), new Score.Language(nll, kl));
    }
  }

  /** {@link Score.Language#nll} of K candidates from their last hidden states {@code [K T, d]}. */
  static double[] nlls(CausalLm model, Tensor hidden, TokenBatch batch) {
    int predicted = batch.sequences().size() - batch.sequences().sequences();
    return means(NextTokens.nll(model, hidden, batch), batch, predicted);
  }

  /**
   * {@link Score.Language#kl} of K candidates from their last hidden states {@code [K T, d]}, mean
   * over all rows.
   */
  static double[] kls(CausalLm original, Tensor reference, Tensor hidden, TokenBatch batch) {
    double[] byRow = NextTokens.kl(original, reference, hidden, batch);
    return means(byRow, batch, batch.sequences().size());
  }

  /** The sum of each candidate's rows, divided by {@code of}. */
  private static double[] means(double[] byRow, TokenBatch batch, int of) {
    int tokens = batch.sequences().size();
    return IntStream.range(0, byRow.length / tokens)
        .mapToDouble(i -> Arrays.stream(byRow, i * tokens, (i + 1) * tokens).sum() / of)
        .toArray();
  }
}
