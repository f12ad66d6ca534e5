package dev.laco.checkpoint;

import dev.laco.BadInputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The folder in which Hugging Face's tools keep what they download: {@code
 * models--ORG--NAME/snapshots/REVISION} is a checkpoint, and {@code refs/main} holds the revision
 * that was current. This class downloads nothing.
 */
public final class HubCache {
  private static final Pattern ID =
      Pattern.compile("([A-Za-z0-9][\\w.-]{0,95})/([A-Za-z0-9][\\w.-]{0,95})");
  private static final String REPOSITORY = "models--";
  private static final Pattern REVISION = Pattern.compile("[0-9A-Za-z]{1,64}");

  private static final int MAX_REFERENCE_BYTES = 256;

  private HubCache() {}

  /**
   * The folder of a checkpoint.
   *
   * @param model the path of a folder, or the id of a model in the hub ({@code
   *     HuggingFaceTB/SmolLM2-135M}), whose snapshot in the cache is given
   * @param environment the environment variables, which say where the cache is as they do for
   *     Hugging Face's tools
   * @throws BadInputException if there is no such folder and no such model in the cache; the
   *     message has the command that downloads the model
   */
  public static Path folder(Path model, Map<String, String> environment) {
    Matcher id = ID.matcher(model.toString());
    if (Files.exists(model) || !id.matches()) {
      return model;
    }
    Path cache = location(environment);
    Path snapshot =
        snapshot(
            cache.resolve(
                String.format(Locale.ROOT, "%s%s--%s", REPOSITORY, id.group(1), id.group(2))));
    if (snapshot == null) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: is no folder, and no model of this name is in %s; if it is one of the Hugging"
                  + " Face hub, this downloads it: hf download %s",
              model,
              cache,
              model));
    }
    return snapshot;
  }

  /**
   * What people call a model: the last part of its repository's name for a snapshot in the cache,
   * else the name of its folder or file.
   *
   * @param model the folder of a checkpoint, or a GGUF file
   */
  public static String name(Path model) {
    Path own = model.toAbsolutePath().normalize();
    Path repository = repository(own);
    if (repository != null) {
      // ORG--NAME, or NAME alone; a name may have dashes, too.
      String id = repository.getFileName().toString().substring(REPOSITORY.length());
      int name = id.indexOf("--", 1);
      return name < 0 ? id : id.substring(name + 2);
    }
    return String.valueOf(own.getFileName() == null ? own : own.getFileName());
  }

  /**
   * The folder of the repository that a snapshot belongs to, which has {@code blobs}, the files of
   * all its snapshots; null for a folder that is no snapshot.
   *
   * @param snapshot the path of a folder, of which only the names are looked at
   */
  public static @Nullable Path repository(Path snapshot) {
    Path snapshots = snapshot.getParent();
    Path repository =
        snapshots != null && snapshots.endsWith("snapshots") ? snapshots.getParent() : null;
    return repository != null
            && String.valueOf(repository.getFileName()).startsWith(REPOSITORY)
            && !repository.endsWith(REPOSITORY)
        ? repository
        : null;
  }

  private static Path location(Map<String, String> environment) {
    String cache = environment.get("HF_HUB_CACHE");
    if (cache != null) {
      return Path.of(cache);
    }
    String home = environment.get("HF_HOME");
    if (home != null) {
      return Path.of(home, "hub");
    }
    String caches = environment.get("XDG_CACHE_HOME");
    return (caches != null
            ? Path.of(caches)
            : Path.of(environment.getOrDefault("HOME", "/"), ".cache"))
        .resolve("huggingface")
        .resolve("hub");
  }

  private static @Nullable Path snapshot(Path repository) {
    Path reference = repository.resolve("refs").resolve("main");
    try {
      if (!Files.isRegularFile(reference) || Files.size(reference) > MAX_REFERENCE_BYTES) {
        return null;
      }
      String revision = Files.readString(reference).strip();
      Path snapshot = repository.resolve("snapshots").resolve(revision);
      return REVISION.matcher(revision).matches() && Files.isDirectory(snapshot) ? snapshot : null;
    } catch (IOException e) {
      return null;
    }
  }
}
