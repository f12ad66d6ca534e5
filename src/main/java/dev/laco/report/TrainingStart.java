package dev.laco.report;

import java.math.BigDecimal;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * What a training is about to do.
 *
 * @param text names what is learnt from, for people
 * @param samples tokens that the original wrote for that; 0 for none
 * @param tokens on which the model is trained
 * @param steps of the optimizer
 * @param firstLayer the first layer that is trained, counted from 0
 * @param layers number of layers that are trained
 * @param parameters that are trained
 * @param lora rank of the adapters whose parameters these are; null where all tensors of the layers
 *     are trained
 * @param rate the largest learning rate
 * @param labelShare share of the loss that is the language model's own
 * @param labelPasses passes over the text behind which that is 0; null where the training ends
 *     before
 * @param rates that were tried one after another, the model before them first, at rate 0; empty
 *     where the rate was given
 */
public record TrainingStart(
    String text,
    long samples,
    long tokens,
    int steps,
    int firstLayer,
    int layers,
    long parameters,
    @Nullable Integer lora,
    double rate,
    double labelShare,
    @Nullable Integer labelPasses,
    List<RateTrial> rates) {
  public TrainingStart {
    rates = List.copyOf(rates);
  }

  /**
   * The loss of a token for people: {@code 0.85 KL + 0.15 nll}, {@code KL}, or {@code 0.85 KL +
   * 0.15 nll (KL alone behind 9 passes over the text)}.
   */
  public String loss() {
    if (labelShare == 0) {
      return "KL";
    }
    BigDecimal labels = BigDecimal.valueOf(labelShare);
    return BigDecimal.ONE.subtract(labels)
        + " KL + "
        + labels
        + " nll"
        + (labelPasses == null
            ? ""
            : " (KL alone behind " + labelPasses + " passes over the text)");
  }

  /** The trained parameters for people: {@code 1,024 parameters of adapters of rank 8}. */
  public String trained() {
    return String.format(Locale.ROOT, "%,d parameters", parameters)
        + (lora == null ? "" : " of adapters of rank " + lora);
  }
}
