package dev.laco.cli;

import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import java.nio.file.Path;
import java.util.stream.Stream;

/**
 * A small model without a tokenizer, and the token ids that a prune of it needs.
 *
 * @param calibration a file of them
 */
record PrunedFixture(Path calibration) {
  static final String NAME = "llama_untied_gqa";
  static final Path MODEL = Fixtures.model(NAME);

  /** Writes the token ids into a folder. */
  static PrunedFixture in(Path folder) {
    return new PrunedFixture(Fixtures.tokens(folder, NAME, "calib"));
  }

  /** {@code prune MODEL --calibration FILE …}. */
  ProgramRun prune(Object... more) {
    return Laco.run(
        Stream.concat(Stream.of("prune", MODEL, "--calibration", calibration), Stream.of(more))
            .toArray());
  }
}
