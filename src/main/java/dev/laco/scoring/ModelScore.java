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
      double kl = kl(original, reference, states, batch);
      double nll = nll(pruned, states, batch);
      pruned.release();
      return new Score(Arrays.stream(similarities).boxed().toList(), new Score.Language(nll, kl));
    }
  }

  /** {@link Score.Language#nll} of last hidden states {@code [T, d]}. */
  static double nll(CausalLm model, Tensor hidden, TokenBatch batch) {
    int predicted = batch.sequences().size() - batch.sequences().sequences();
    return Arrays.stream(NextTokens.nll(model, hidden, batch)).sum() / predicted;
  }

  /** {@link Score.Language#kl} of last hidden states {@code [T, d]}, mean over all rows. */
  static double kl(CausalLm original, Tensor reference, Tensor hidden, TokenBatch batch) {
    return Arrays.stream(NextTokens.kl(original, reference, hidden, batch)).sum()
        / batch.sequences().size();
  }
}
