package dev.laco.backend.cuda;

import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Finds the folders of CUDA's libraries on machines whose dynamic linker does not know them. */
final class CudaFolders {
  private CudaFolders() {}

  /**
   * Folders in which a library may lie: first those of CUDA toolkits, then those of the wheels of
   * Python installations.
   *
   * @param wheel name of the folder that the library has among the wheels of CUDA 12, which has a
   *     wheel for each library
   */
  static List<Path> libraries(String wheel) {
    return libraries(wheel, System.getenv());
  }

  static List<Path> libraries(String wheel, Map<String, String> environment) {
    Set<Path> folders = new LinkedHashSet<>();
    for (String variable : List.of("CUDA_HOME", "CUDA_PATH")) {
      String toolkit = environment.get(variable);
      if (toolkit != null) {
        folders.add(Path.of(toolkit, "lib64"));
      }
    }
    folders.add(Path.of("/usr/local/cuda/lib64"));
    for (Path packages : sitePackages(environment)) {
      folders.add(packages.resolve("nvidia/cu13/lib"));
      folders.add(packages.resolve("nvidia/" + wheel + "/lib"));
    }
    return List.copyOf(folders);
  }

  /** The package folders of the active Python environments and of the python3 on PATH. */
  private static Set<Path> sitePackages(Map<String, String> environment) {
    Set<Path> prefixes = new LinkedHashSet<>();
    for (String variable : List.of("VIRTUAL_ENV", "CONDA_PREFIX")) {
      String prefix = environment.get(variable);
      if (prefix != null) {
        prefixes.add(Path.of(prefix));
      }
    }
    for (String folder : environment.getOrDefault("PATH", "").split(":", -1)) {
      Path python = Path.of(folder, "python3");
      if (!folder.isEmpty() && Files.isExecutable(python)) {
        Path prefix = Path.of(folder).toAbsolutePath().normalize().getParent();
        if (prefix != null) {
          prefixes.add(prefix);
          prefixes.add(prefix.resolve("local"));
        }
        break;
      }
    }
    String home = environment.get("HOME");
    if (home != null) {
      prefixes.add(Path.of(home, ".local"));
    }
    Set<Path> packages = new LinkedHashSet<>();
    for (Path prefix : prefixes) {
      for (Path python : children(prefix.resolve("lib"), "python3*")) {
        for (String name : List.of("site-packages", "dist-packages")) {
          if (Files.isDirectory(python.resolve(name))) {
            packages.add(python.resolve(name));
          }
        }
      }
    }
    return packages;
  }

  private static List<Path> children(Path folder, String pattern) {
    List<Path> found = new ArrayList<>();
    try (DirectoryStream<Path> children = Files.newDirectoryStream(folder, pattern)) {
      children.forEach(found::add);
    } catch (IOException absent) {
      return List.of();
    }
    found.sort(null);
    return found;
  }
}
