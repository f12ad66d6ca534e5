package dev.laco.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.LinkedHashSet;
import java.util.SequencedSet;

/** The tokens at which a model ends its text. */
public final class StopTokens {
  private static final String GENERATION = "generation_config.json";
  private static final String KEY = "eos_token_id";

  private StopTokens() {}

  /**
   * End-of-sequence ids: {@code generation_config.json}'s if it has any, else the config's. The
   * metadata of a GGUF file stand for both.
   */
  public static SequencedSet<Integer> of(Checkpoint model) {
    SequencedSet<Integer> stop = new LinkedHashSet<>();
    // Refuses a link to nothing by telling where it leads, which a user can restore.
    model.ownFile(GENERATION);
    addIds(model.json(GENERATION).path(KEY), stop);
    if (stop.isEmpty()) {
      addIds(model.configValue(KEY), stop);
    }
    return stop;
  }

  private static void addIds(JsonNode ids, SequencedSet<Integer> stop) {
    if (ids.isInt()) {
      stop.add(ids.intValue());
    }
    for (JsonNode id : ids) {
      // A number beyond int is no token id, and no token stops at it.
      if (id.isInt()) {
        stop.add(id.intValue());
      }
    }
  }
}
