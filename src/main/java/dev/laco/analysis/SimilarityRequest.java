package dev.laco.analysis;

import dev.laco.Request;
import dev.laco.Setting;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * What is measured of the layers of a model, and on which text.
 *
 * @param parts what is measured; null for all
 * @param calibration the sentences that the model runs over; null for the model's own {@code
 *     calibration.txt} if it has one, else the built-in sentences
 * @param longestSpan the most consecutive layers whose removal is measured; null for half of the
 *     layers
 */
public record SimilarityRequest(
    List<Part> parts, @Nullable Path calibration, @Nullable Integer longestSpan)
    implements Request {
  /** A request of everything, with defaults. */
  public static final SimilarityRequest ALL = new SimilarityRequest(Part.all(), null, null);

  /**
   * A request of all values; null stands for the default of each.
   *
   * @throws dev.laco.UsageException if {@code parts} is empty, or {@code longestSpan} is below 1
   */
  public SimilarityRequest {
    parts = parts == null ? Part.all() : List.copyOf(parts);
    if (parts.isEmpty()) {
      throw Setting.of("parts").refuse("", "parameters, states or removals");
    }
    if (longestSpan != null && longestSpan < 1) {
      throw Setting.of("longestSpan").refuse(longestSpan, "at least 1");
    }
  }

  /** What can be measured. */
  public enum Part {
    /** Matrices of the layers, which needs no text. */
    PARAMETERS,
    /** Hidden states between the layers. */
    STATES,
    /** What the loss of one layer, or of several consecutive ones, costs. */
    REMOVALS;

    /** All of them. */
    public static List<Part> all() {
      return List.of(values());
    }

    /** The value of the setting {@code parts}. */
    public String optionValue() {
      return name().toLowerCase(Locale.ROOT);
    }
  }
}
