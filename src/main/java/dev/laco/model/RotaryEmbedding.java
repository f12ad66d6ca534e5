package dev.laco.model;

import java.util.List;

/**
 * Cosines and sines of rotary angles for packed sequences. Frequencies and angles are computed in
 * f32 with the rounding steps of the implementation in transformers: at large positions the
 * rounding of an angle is part of the model, which was trained and is used with it.
 */
public final class RotaryEmbedding {
  private final RopeParameters parameters;
  private final int headDim;
  private final float[] frequencies;
  private final float[] longFrequencies;

  /**
   * @param headDim rotated width of a head, even
   */
  public RotaryEmbedding(RopeParameters parameters, int headDim) {
    this.parameters = parameters;
    this.headDim = headDim;
    this.frequencies =
        switch (parameters.scaling()) {
          case RopeParameters.Default d -> base(parameters.theta());
          case RopeParameters.Dynamic d -> base(parameters.theta());
          case RopeParameters.Linear linear -> divided(base(parameters.theta()), linear.factor());
          case RopeParameters.Llama3 llama3 -> llama3(base(parameters.theta()), llama3);
          case RopeParameters.Yarn yarn -> yarn(yarn);
          case RopeParameters.LongRope longRope -> byFactors(longRope.shortFactors());
        };
    this.longFrequencies =
        parameters.scaling() instanceof RopeParameters.LongRope longRope
            ? byFactors(longRope.longFactors())
            : frequencies;
  }

  /** Number of angles of a token: half the rotated width of a head. */
  public int pairs() {
    return headDim / 2;
  }

  /**
   * Fills {@code T * pairs} elements of {@code cosine} and {@code sine}, from element {@code from}
   * on, for every token of the batch.
   */
  public void fill(PackedSequences batch, float[] cosine, float[] sine, int from) {
    float scale =
        switch (parameters.scaling()) {
          case RopeParameters.Yarn yarn -> (float) yarn.attentionFactor();
          case RopeParameters.LongRope longRope -> (float) longRope.attentionFactor();
          default -> 1f;
        };
    int pairs = pairs();
    for (int s = 0; s < batch.sequences(); s++) {
      float[] inverse = frequenciesFor(batch.past()[s] + batch.length(s));
      for (int t = batch.offsets()[s]; t < batch.offsets()[s + 1]; t++) {
        float position = batch.past()[s] + t - batch.offsets()[s];
        for (int i = 0; i < pairs; i++) {
          double angle = position * inverse[i];
          cosine[from + t * pairs + i] = (float) Math.cos(angle) * scale;
          sine[from + t * pairs + i] = (float) Math.sin(angle) * scale;
        }
      }
    }
  }

  private float[] frequenciesFor(int length) {
    if (parameters.scaling() instanceof RopeParameters.Dynamic dynamic
        && length > dynamic.originalPositions()) {
      double grown =
          dynamic.factor() * length / dynamic.originalPositions() - (dynamic.factor() - 1);
      return base(parameters.theta() * Math.pow(grown, headDim / (headDim - 2.0)));
    }
    if (parameters.scaling() instanceof RopeParameters.LongRope longRope
        && length > longRope.originalPositions()) {
      return longFrequencies;
    }
    return frequencies;
  }

  /** The frequencies without scaling: {@code 1 / theta^(2i / headDim)} for pair {@code i}. */
  private float[] base(double theta) {
    float[] result = new float[pairs()];
    for (int i = 0; i < result.length; i++) {
      result[i] = 1f / power(theta, i);
    }
    return result;
  }

  private float power(double theta, int pair) {
    return (float) Math.pow((float) theta, 2f * pair / headDim);
  }

  private float[] byFactors(List<Double> factors) {
    float[] result = new float[pairs()];
    for (int i = 0; i < result.length; i++) {
      result[i] = 1f / (factors.get(i).floatValue() * power(parameters.theta(), i));
    }
    return result;
  }

  private static float[] divided(float[] frequencies, double factor) {
    float[] result = new float[frequencies.length];
    for (int i = 0; i < result.length; i++) {
      result[i] = frequencies[i] / (float) factor;
    }
    return result;
  }

  private static float[] llama3(float[] frequencies, RopeParameters.Llama3 llama3) {
    float original = llama3.originalPositions();
    float low = (float) llama3.lowFreqFactor();
    float high = (float) llama3.highFreqFactor();
    float factor = (float) llama3.factor();
    float[] result = new float[frequencies.length];
    for (int i = 0; i < result.length; i++) {
      float wavelength = (float) (2 * Math.PI) / frequencies[i];
      if (wavelength < original / high) {
        result[i] = frequencies[i];
      } else if (wavelength > original / low) {
        result[i] = frequencies[i] / factor;
      } else {
        float smooth = (original / wavelength - low) / (high - low);
        result[i] = (1 - smooth) * frequencies[i] / factor + smooth * frequencies[i];
      }
    }
    return result;
  }

  private float[] yarn(RopeParameters.Yarn yarn) {
    double low = correction(yarn.betaFast(), yarn.originalPositions());
    double high = correction(yarn.betaSlow(), yarn.originalPositions());
    if (yarn.truncate()) {
      low = Math.floor(low);
      high = Math.ceil(high);
    }
    low = Math.max(low, 0);
    high = Math.min(high, headDim - 1);
    if (low == high) {
      high += 0.001;
    }
    float[] result = new float[pairs()];
    for (int i = 0; i < result.length; i++) {
      float power = power(parameters.theta(), i);
      float ramp = Math.clamp((float) (i - low) / (float) (high - low), 0f, 1f);
      float keep = 1 - ramp;
      result[i] = 1f / ((float) yarn.factor() * power) * (1 - keep) + 1f / power * keep;
    }
    return result;
  }

  /**
   * The dimension whose angle makes {@code rotations} full turns within the original context (YaRN,
   * Peng et al. 2023).
   */
  private double correction(double rotations, int originalPositions) {
    return headDim
        * Math.log(originalPositions / (rotations * 2 * Math.PI))
        / (2 * Math.log(parameters.theta()));
  }
}
