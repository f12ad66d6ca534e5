package dev.laco.run;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.InputJson;
import dev.laco.Model;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Set;
import java.util.function.Supplier;

/** The tokens at which a model ends its text. */
public final class StopTokens {
  private static final String GENERATION = "generation_config.json";
  private static final String KEY = "eos_token_id";

  private StopTokens() {}

  /**
   * End-of-sequence ids: {@code generation_config.json}'s if it has any, else the config's. The
   * metadata of a GGUF file stand for both.
   */
  public static Set<Integer> of(Model model) {
    Path generation = model.ownFile(GENERATION);
    Supplier<String> made = model.checkpoint().madeFiles().get(GENERATION);
    Set<Integer> stop = new HashSet<>();
    if (generation != null) {
      addIds(InputJson.readObject(generation).path(KEY), stop);
    } else if (made != null) {
      addIds(InputJson.parse(model.directory().toString(), made.get()).path(KEY), stop);
    }
    if (stop.isEmpty()) {
      addIds(model.checkpoint().configJson().path(KEY), stop);
    }
    return stop;
  }

  private static void addIds(JsonNode ids, Set<Integer> stop) {
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
