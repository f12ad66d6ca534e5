package dev.laco;

/**
 * What a model lacks that has no tokenizer. As text, it is what messages say behind "the model
 * has".
 */
public enum MissingTokenizer {
  /** A file of the model's folder. */
  OF_FOLDER("no tokenizer.json", "copy it from the model's source"),

  /** A part of the metadata of a GGUF file, beside which no other file is read. */
  OF_GGUF("no tokenizer in its metadata", "name a GGUF file that has one, or the model's folder");

  private final String missing;
  private final String remedy;

  MissingTokenizer(String missing, String remedy) {
    this.missing = missing;
    this.remedy = remedy;
  }

  /** What to do where token ids cannot take the place of text. */
  public String remedy() {
    return remedy;
  }

  @Override
  public String toString() {
    return missing;
  }
}
