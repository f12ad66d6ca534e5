package dev.laco.apply;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.laco.BadInputException;
import dev.laco.InputJson;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.HubCache;
import dev.laco.checkpoint.OutputFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.SequencedMap;
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.function.Predicate;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The files beside config and weights that are copied from the original into a pruned checkpoint:
 * generation defaults, tokenizer, what prepares images and sounds, chat templates, the code of
 * remote-code models, licences, and the original's model card, which becomes {@link
 * ModelCard#ORIGINAL}. Weights in other formats are not copied, since some loaders would prefer
 * them to the pruned ones. The original's texts for calibration, fit and evaluation are not copied
 * either.
 *
 * <p>A pruned checkpoint is made to be published. A symbolic link in a stranger's checkpoint must
 * therefore not cause a private file of the user to be copied. A link is followed to a file in the
 * model's own folder. If that folder is a snapshot in Hugging Face's cache ({@code
 * models--NAME/snapshots/REVISION}), a link is also followed to a file in {@code blobs} of the same
 * cache entry. Other links are left out with a warning. Links of {@code config.json} and of weights
 * may lead anywhere, since weights often lie on another disk; these files are not copied but read
 * as a config and as weights.
 */
final class CompanionFiles {
  private static final Pattern NAMES =
      Pattern.compile(
          "generation_config\\.json"
              + "|(video_)?(pre)?processor_config\\.json"
              + "|tokenizer.*\\.(json|model(\\.v[0-9]\\w*)?|txt|tiktoken)"
              + "|special_tokens_map\\.json|added_tokens\\.json"
              + "|(vocab|encoder)\\.json|vocab\\.(txt|bpe)|merges\\.txt|.*\\.(tiktoken|spm)"
              + "|(spiece|sentencepiece(\\.bpe)?|tekken)\\.(model|json)"
              + "|chat_template\\.(json|jinja)"
              + "|(LICEN[CS]E|NOTICE|USE_POLICY).*|README(\\.original)?\\.md",
          Pattern.CASE_INSENSITIVE);

  /** The folder of the chat templates beside the first; see transformers' save_pretrained. */
  static final String TEMPLATES = "additional_chat_templates";

  /** The key of the code that a remote-code model, or its tokenizer, consists of. */
  private static final String CODE = "auto_map";

  private CompanionFiles() {}

  /**
   * A file to copy.
   *
   * @param name the path inside the pruned checkpoint; as a path, since a name may have bytes that
   *     are no text in the process's locale
   * @param source the real path, which has no links; null for a file that is made of a GGUF file's
   *     metadata
   * @param text the content of a file that is made, else empty
   */
  record Companion(Path name, @Nullable Path source, String text) {
    /** Bytes of the file. */
    long size() {
      if (source == null) {
        return text.getBytes(UTF_8).length;
      }
      try {
        return Files.size(source);
      } catch (IOException e) {
        throw new BadInputException(source + ": cannot be read: " + e.getMessage(), e);
      }
    }

    /** Writes the file into a folder that has none of its name. */
    void writeInto(Path folder) {
      Path file = folder.resolve(name);
      Path parent = file.resolveSibling("");
      try {
        Files.createDirectories(parent);
        if (source == null) {
          OutputFiles.write(file, text.getBytes(UTF_8));
        } else {
          OutputFiles.copy(source, file);
        }
        OutputFiles.forceNames(parent);
      } catch (IOException e) {
        throw OutputFiles.cannotWrite(file, e);
      }
    }
  }

  /**
   * The files to copy, in the order of their names.
   *
   * @param warnings is told of links that are left out
   * @throws BadInputException if the folder cannot be read
   */
  static List<Companion> of(Checkpoint model, Consumer<String> warnings) {
    if (!Files.isDirectory(model.directory())) {
      return made(model, warnings);
    }
    SequencedMap<Path, Companion> companions = new TreeMap<>();
    try {
      boolean remoteCode = namesCode(model, warnings);
      List<Path> named =
          new ArrayList<>(
              files(
                  model.directory(),
                  name -> NAMES.matcher(name).matches() || (remoteCode && name.endsWith(".py"))));
      Path templates = model.directory().resolve(TEMPLATES);
      if (Files.isDirectory(templates)) {
        named.addAll(files(templates, name -> name.endsWith(".jinja")));
      }
      boolean pruned = named.stream().anyMatch(file -> isCalled(file, ModelCard.ORIGINAL));
      List<Path> homes = homes(model.directory().toRealPath());
      for (Path file : named) {
        boolean card = isCalled(file, ModelCard.FILE);
        Path name = card ? Path.of(ModelCard.ORIGINAL) : model.directory().relativize(file);
        // Where the card of an original is kept, README.md is the card of a pruned model.
        if ((card && pruned) || Files.isDirectory(file)) {
          continue;
        }
        if (!Files.exists(file)) {
          warnings.accept(file + ": is a link to nothing, and is left out");
          continue;
        }
        Path source = file.toRealPath();
        if (homes.stream().anyMatch(source::startsWith)) {
          companions.putIfAbsent(name, new Companion(name, source, ""));
        } else {
          warnings.accept(
              String.format(
                  Locale.ROOT,
                  "%s: is a link to %s, outside the model, and is left out; if it belongs to the model, put a copy in its place",
                  file,
                  source));
        }
      }
      return List.copyOf(companions.values());
    } catch (IOException e) {
      throw new BadInputException(model.directory() + ": cannot be read: " + e.getMessage(), e);
    }
  }

  /** Files and links of a folder, in the order of their names. */
  private static List<Path> files(Path folder, Predicate<String> name) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files
          .filter(file -> Files.isRegularFile(file) || Files.isSymbolicLink(file))
          .filter(file -> name.test(file.getFileName().toString()))
          .sorted()
          .toList();
    }
  }

  /** Whether the config of the model or of its tokenizer names code beside it. */
  private static boolean namesCode(Checkpoint model, Consumer<String> warnings) {
    Path tokenizer = model.directory().resolve("tokenizer_config.json");
    if (model.configJson().has(CODE) || !Files.exists(tokenizer)) {
      return model.configJson().has(CODE);
    }
    try {
      return InputJson.readObject(tokenizer).has(CODE);
    } catch (BadInputException e) {
      warnings.accept(e.template() + "; code that it may name is left out");
      return false;
    }
  }

  /** The files that the metadata of a GGUF file stand for. */
  private static List<Companion> made(Checkpoint model, Consumer<String> warnings) {
    List<Companion> companions = new ArrayList<>();
    model
        .madeFiles()
        .forEach(
            (name, text) -> {
              try {
                companions.add(new Companion(Path.of(name), null, text.get()));
              } catch (BadInputException e) {
                warnings.accept(e.template() + "; " + name + " is left out");
              }
            });
    return List.copyOf(companions);
  }

  private static boolean isCalled(Path file, String name) {
    return file.getFileName().toString().equalsIgnoreCase(name);
  }

  /** The real paths of the folders whose files belong to the model. */
  private static List<Path> homes(Path model) {
    Path repository = HubCache.repository(model);
    return repository == null ? List.of(model) : List.of(model, repository.resolve("blobs"));
  }
}
