package dev.laco.model;

/** Programs of other people that open checkpoints; a family says which of them know it. */
public enum Loader {
  TRANSFORMERS("transformers"),
  VLLM("vLLM"),
  /** Opens a GGUF file, which {@code export} writes. */
  LLAMA_CPP("llama.cpp"),
  JLAMA("jlama");

  private final String label;

  Loader(String label) {
    this.label = label;
  }

  /** The name that its authors give it. */
  @Override
  public String toString() {
    return label;
  }
}
