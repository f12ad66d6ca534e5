package dev.laco.apply;

import dev.laco.BadInputException;
import dev.laco.checkpoint.Checkpoint;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * The files beside config and weights that make a checkpoint usable: generation defaults,
 * tokenizer, chat templates, the code of remote-code models, licences, the model card, and the
 * texts that it was calibrated, fitted and evaluated on. Weights in other formats are never among
 * them: some loaders would prefer them to ours.
 */
final class CompanionFiles {
  private static final Pattern NAMES =
      Pattern.compile(
          "generation_config\\.json"
              + "|tokenizer.*\\.(json|model|txt|tiktoken)"
              + "|special_tokens_map\\.json|added_tokens\\.json"
              + "|vocab\\.(json|txt)|merges\\.txt|.*\\.(tiktoken|spm)"
              + "|(spiece|sentencepiece(\\.bpe)?|tekken)\\.(model|json)"
              + "|chat_template\\.(json|jinja)"
              + "|(LICEN[CS]E|NOTICE|USE_POLICY).*|README\\.md"
              + "|(calibration|evaluation|fit)\\.(txt|jsonl|json)",
          Pattern.CASE_INSENSITIVE);

  private CompanionFiles() {}

  /**
   * The files to copy, in the order of their names; paths may be symbolic links.
   *
   * @throws BadInputException if the folder cannot be read
   */
  static List<Path> of(Checkpoint model) {
    boolean remoteCode = model.configJson().has("auto_map");
    try (Stream<Path> files = Files.list(model.directory())) {
      return files
          .filter(Files::isRegularFile)
          .filter(
              file -> {
                String name = file.getFileName().toString();
                return NAMES.matcher(name).matches() || (remoteCode && name.endsWith(".py"));
              })
          .sorted()
          .toList();
    } catch (IOException e) {
      throw new BadInputException(model.directory() + ": cannot be read: " + e.getMessage(), e);
    }
  }
}
