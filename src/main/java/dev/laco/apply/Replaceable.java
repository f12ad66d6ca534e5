package dev.laco.apply;

import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.checkpoint.Checkpoint;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * What a write with {@code overwrite} may replace, and therefore delete: an empty file or a GGUF
 * file by a GGUF file; and by a folder an empty folder, or a folder that is a checkpoint and
 * nothing else. A checkpoint has {@code config.json} with safetensors weights, or a plan of laco,
 * at its top; only files of the kinds that Hugging Face's checkpoints are made of; and no folder
 * but those of chat templates and of the state of Hugging Face's downloads. A folder with weights
 * in other formats that were made from the checkpoint, such as GGUF, is not replaced, since making
 * them may have taken hours.
 */
final class Replaceable {
  private static final Pattern WEIGHTS =
      Pattern.compile(".*\\.safetensors|model\\.safetensors\\.index\\.json");

  private static final Pattern PARTS =
      Pattern.compile(
          ".*\\.(json|jsonl|safetensors|txt|md|model(\\.v[0-9]\\w*)?|jinja|py|bpe|tiktoken|spm)"
              + "|(LICEN[CS]E|NOTICE|USE_POLICY).*|\\.gitattributes",
          Pattern.CASE_INSENSITIVE);

  /** The folder that {@code hf download --local-dir} makes, with only {@code huggingface} in it. */
  private static final String DOWNLOAD_STATE = ".cache";

  private static final int NAMED = 3;

  private Replaceable() {}

  /**
   * Checks that an existing folder may be replaced.
   *
   * @throws UsageException if it may not; the message says what is in the folder and what to do
   */
  static void require(String name, Path folder) throws IOException {
    List<Path> entries = entries(folder);
    for (Path entry : entries) {
      if (!isPart(entry)) {
        throw new UsageException(
            String.format(
                Locale.ROOT,
                "%s: %s replaces a checkpoint and nothing else, and '%s' there is no file of one; move it away or name another folder",
                name,
                Setting.of("overwrite"),
                entry.getFileName()));
      }
    }
    if (!entries.isEmpty() && !isCheckpoint(entries)) {
      throw new UsageException(
          String.format(
              Locale.ROOT,
              "%s: %s replaces a checkpoint and nothing else, and there is no config.json with weights but %s; name another folder, or empty it",
              name,
              Setting.of("overwrite"),
              some(entries)));
    }
  }

  /**
   * Checks that an existing file may be replaced by a GGUF file.
   *
   * @throws UsageException if it may not
   */
  static void requireGguf(String name, Path file) throws IOException {
    if (Files.size(file) > 0 && !Checkpoint.isGguf(file)) {
      throw new UsageException(
          String.format(
              Locale.ROOT,
              "%s: %s replaces a GGUF file and nothing else, and what is there is none; move it away or name another file",
              name,
              Setting.of("overwrite")));
    }
  }

  private static boolean isCheckpoint(List<Path> entries) {
    List<String> names = entries.stream().map(entry -> entry.getFileName().toString()).toList();
    return names.contains(PlanApplier.PLAN)
        || (names.contains(Checkpoint.CONFIG)
            && names.stream().anyMatch(name -> WEIGHTS.matcher(name).matches()));
  }

  private static boolean isPart(Path entry) throws IOException {
    String name = entry.getFileName().toString();
    if (Files.isDirectory(entry, LinkOption.NOFOLLOW_LINKS)) {
      List<Path> inside = entries(entry);
      return switch (name) {
        case DOWNLOAD_STATE -> inside.stream().allMatch(each -> each.endsWith("huggingface"));
        case CompanionFiles.TEMPLATES ->
            inside.stream()
                .allMatch(
                    each ->
                        each.toString().endsWith(".jinja")
                            && Files.isRegularFile(each, LinkOption.NOFOLLOW_LINKS));
        default -> false;
      };
    }
    return PARTS.matcher(name).matches();
  }

  private static List<Path> entries(Path folder) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.sorted().toList();
    }
  }

  private static String some(List<Path> entries) {
    String some =
        entries.stream()
            .limit(NAMED)
            .map(entry -> "'" + entry.getFileName() + "'")
            .collect(Collectors.joining(", "));
    int more = entries.size() - NAMED;
    return more > 0 ? some + " and " + more + " more" : some;
  }
}
