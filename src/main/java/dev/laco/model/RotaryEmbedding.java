package dev.laco.model;

import java.util.Arrays;
import java.util.List;

/**
 * Cosines and sines of rotary angles for packed sequences. Frequencies and angles are computed in
 * f32 with the rounding steps of the implementation in transformers: at large positions the
 * rounding of an angle is part of the model, which was trained and is used with it.
 */
public final class RotaryEmbedding {
  /**
   * Positions whose cosines and sines are kept; computing them takes longer than a GPU's layers.
   */
  private static final int MOST_KEPT = 8192;

  private final RopeParameters parameters;
  private final int headDim;
  private final float scale;
  private final float[] frequencies;
  private final float[] longFrequencies;

  /** Cosines and sines of the first positions by {@link #frequencies}. */
  private volatile Table kept;

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
    this.scale =
        switch (parameters.scaling()) {
          case RopeParameters.Yarn yarn -> (float) yarn.attentionFactor();
          case RopeParameters.LongRope longRope -> (float) longRope.attentionFactor();
          default -> 1f;
        };
    this.kept = new Table(new float[0], new float[0]);
  }

  /**
   * Cosines and sines of consecutive positions.
   *
   * @param cosines of all pairs of a position, then those of the next
   * @param sines likewise
   */
  private record Table(float[] cosines, float[] sines) {}

  /** Number of angles of a token: half the rotated width of a head. */
  public int pairs() {
    return headDim / 2;
  }

  /**
   * Fills {@code T * pairs} elements of {@code cosine} and {@code sine}, from element {@code from}
   * on, for every token of the batch.
   */
  public void fill(PackedSequences batch, float[] cosine, float[] sine, int from) {
    int pairs = pairs();
    for (int s = 0; s < batch.sequences(); s++) {
      int past = batch.past()[s];
      int end = past + batch.length(s);
      float[] inverse = frequenciesFor(end);
      int known = hasUsualFrequencies(end) ? Math.clamp(MOST_KEPT, past, end) : past;
      int at = from + batch.offsets()[s] * pairs;
      if (known > past) {
        Table table = kept(known);
        System.arraycopy(table.cosines, past * pairs, cosine, at, (known - past) * pairs);
        System.arraycopy(table.sines, past * pairs, sine, at, (known - past) * pairs);
      }
      rotate(inverse, known, end, cosine, sine, at + (known - past) * pairs);
    }
  }

  /** A table of at least the first {@code positions} positions. */
  private Table kept(int positions) {
    Table table = kept;
    int before = table.cosines.length / pairs();
    if (positions > before) {
      int grown = Math.min(MOST_KEPT, Math.max(positions, 2 * before));
      float[] cosines = Arrays.copyOf(table.cosines, grown * pairs());
      float[] sines = Arrays.copyOf(table.sines, grown * pairs());
      rotate(frequencies, before, grown, cosines, sines, before * pairs());
      table = new Table(cosines, sines);
      kept = table;
    }
    return table;
  }

  /** Writes the cosines and sines of positions from {@code first} to before {@code end}. */
  private void rotate(float[] inverse, int first, int end, float[] cosine, float[] sine, int from) {
    int at = from;
    RopeParameters.QueryScale queries = parameters.queries();
    for (int position = first; position < end; position++) {
      float length = queries == null ? scale : scale * (float) queries.at(position);
      for (int i = 0; i < pairs(); i++) {
        double angle = (float) position * inverse[i];
        cosine[at] = (float) Math.cos(angle) * length;
        sine[at] = (float) Math.sin(angle) * length;
        at++;
      }
    }
  }

  /** Whether a sequence of such a length rotates by {@link #frequencies}. */
  private boolean hasUsualFrequencies(int length) {
    return switch (parameters.scaling()) {
      case RopeParameters.Dynamic dynamic -> length <= dynamic.originalPositions();
      case RopeParameters.LongRope longRope -> length <= longRope.originalPositions();
      default -> true;
    };
  }

  private float[] frequenciesFor(int length) {
    if (hasUsualFrequencies(length)) {
      return frequencies;
    }
    if (parameters.scaling() instanceof RopeParameters.Dynamic dynamic) {
      double grown =
          dynamic.factor() * length / dynamic.originalPositions() - (dynamic.factor() - 1);
      return base(parameters.theta() * Math.pow(grown, headDim / (headDim - 2.0)));
    }
    return longFrequencies;
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
