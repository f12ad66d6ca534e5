package dev.laco.model;

/**
 * Ministral 3 (Mistral AI 2025): a Mistral with YaRN, whose queries are longer at later positions.
 */
final class Ministral3 {
  static final Architecture FAMILY =
      Architecture.named("Ministral3ForCausalLM", "ministral3")
          .window(config -> config.positiveOr("sliding_window", 0))
          .rotation(Ministral3::rotation)
          .defaultEps(1e-5)
          .defaultPositions(262144)
          .build();

  private Ministral3() {}

  private static RopeParameters rotation(RopeParameters.Reader reader, boolean slides) {
    JsonFields config = reader.config();
    if (!config.has("rope_parameters") && !config.has("rope_scaling")) {
      throw config.error("rope_parameters", "an object, since its default is not known here");
    }
    return reader.read(1_000_000);
  }
}
