package dev.laco;

import static java.util.stream.Collectors.toCollection;
import static java.util.stream.Collectors.toSet;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.domain.JavaPackage;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import dev.laco.backend.Backend;
import dev.laco.backend.ForwardOps;
import dev.laco.backend.ScoringOps;
import dev.laco.backend.SolvingOps;
import dev.laco.backend.TrainingOps;
import java.io.IOException;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.jspecify.annotations.NullMarked;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The rooms of the engine (packages under {@code dev.laco}) and the arrows between them. */
class ArchitectureTest {
  private static final String ROOT = "dev.laco";

  /** What each room may use, besides itself and the errors of the root package. */
  private static final Map<String, Set<String>> ARROWS =
      Map.ofEntries(
          Map.entry("model", Set.of()),
          Map.entry("text", Set.of("text.jinja")),
          Map.entry("text.jinja", Set.of()),
          Map.entry("ffi", Set.of()),
          Map.entry("linalg", Set.of("ffi")),
          Map.entry("backend", Set.of("model", "linalg", "ffi")),
          Map.entry("backend.reference", Set.of("backend", "model")),
          Map.entry("backend.cpu", Set.of("backend", "model", "ffi")),
          Map.entry("backend.cuda", Set.of("backend", "model", "ffi", "linalg")),
          Map.entry(
              "checkpoint",
              Set.of(
                  "checkpoint.gguf",
                  "checkpoint.scaled",
                  "checkpoint.table",
                  "checkpoint.tokenizer",
                  "checkpoint.torch",
                  "model",
                  "ffi")),
          Map.entry(
              "checkpoint.export",
              Set.of("checkpoint", "checkpoint.gguf", "checkpoint.tokenizer", "model")),
          Map.entry("checkpoint.gguf", Set.of("model")),
          Map.entry("checkpoint.scaled", Set.of("checkpoint.table", "model")),
          Map.entry("checkpoint.table", Set.of("model")),
          Map.entry("checkpoint.tokenizer", Set.of("checkpoint.gguf", "model")),
          Map.entry("checkpoint.torch", Set.of("checkpoint.table", "model")),
          Map.entry("transformer", Set.of("collapse", "model", "backend")),
          Map.entry("collapse", Set.of("model")),
          Map.entry("collapse.peers", Set.of("collapse")),
          Map.entry("scoring", Set.of("collapse", "transformer", "backend", "model")),
          Map.entry(
              "apply",
              Set.of(
                  "collapse",
                  "checkpoint",
                  "checkpoint.export",
                  "checkpoint.gguf",
                  "checkpoint.table",
                  "model",
                  "ffi")),
          Map.entry("measure", Set.of("report", "transformer", "text", "backend", "model")),
          Map.entry(
              "fit",
              Set.of(
                  "collapse",
                  "measure",
                  "report",
                  "scoring",
                  "transformer",
                  "backend",
                  "linalg",
                  "text",
                  "training",
                  "model")),
          Map.entry(
              "inspect",
              Set.of(
                  "backend",
                  "backend.cpu",
                  "backend.cuda",
                  "checkpoint",
                  "checkpoint.export",
                  "checkpoint.gguf",
                  "checkpoint.table",
                  "ffi",
                  "linalg",
                  "model")),
          Map.entry("report", Set.of("collapse", "model")),
          Map.entry(
              "run",
              Set.of(
                  "backend",
                  "backend.cpu",
                  "backend.cuda",
                  "backend.reference",
                  "checkpoint",
                  "collapse",
                  "measure",
                  "fit",
                  "model",
                  "report",
                  "text",
                  "transformer")),
          Map.entry(
              "evaluate",
              Set.of(
                  "run",
                  "report",
                  "measure",
                  "transformer",
                  "backend",
                  "checkpoint",
                  "text",
                  "model")),
          Map.entry("training", Set.of("report", "transformer", "backend", "text", "model")),
          Map.entry(
              "heal",
              Set.of(
                  "run",
                  "report",
                  "training",
                  "apply",
                  "measure",
                  "transformer",
                  "collapse",
                  "checkpoint",
                  "backend",
                  "text",
                  "model")),
          Map.entry(
              "generate",
              Set.of("run", "measure", "transformer", "backend", "checkpoint", "text", "model")),
          Map.entry(
              "curve",
              Set.of(
                  "apply",
                  "backend",
                  "checkpoint",
                  "collapse",
                  "compare",
                  "measure",
                  "fit",
                  "model",
                  "prune",
                  "report",
                  "run",
                  "scoring",
                  "text",
                  "transformer")),
          Map.entry(
              "analysis",
              Set.of(
                  "run",
                  "apply",
                  "scoring",
                  "transformer",
                  "collapse",
                  "checkpoint",
                  "backend",
                  "text",
                  "model")),
          Map.entry(
              "compare",
              Set.of(
                  "apply",
                  "backend",
                  "checkpoint",
                  "collapse",
                  "collapse.peers",
                  "measure",
                  "fit",
                  "model",
                  "prune",
                  "report",
                  "run",
                  "scoring",
                  "text",
                  "transformer")),
          Map.entry(
              "prune",
              Set.of(
                  "apply",
                  "backend",
                  "checkpoint",
                  "checkpoint.gguf",
                  "collapse",
                  "collapse.peers",
                  "measure",
                  "fit",
                  "heal",
                  "model",
                  "report",
                  "run",
                  "scoring",
                  "text",
                  "training",
                  "transformer")));

  /** Classes of the root package that stand in front of the rooms: those of jobs alone use them. */
  private static final Set<String> FRONT = Set.of("DeviceSettings", "JobEvent", "Model");

  private static final Set<String> JOBS =
      Set.of(
          "run",
          "prune",
          "compare",
          "curve",
          "analysis",
          "evaluate",
          "generate",
          "heal",
          "inspect",
          "");

  private static JavaClasses engine;

  @BeforeAll
  static void readClasses() {
    engine =
        new ClassFileImporter()
            .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_TESTS)
            .importPackages(ROOT);
  }

  @Test
  void roomsUseOnlyWhatTheirArrowsAllow() {
    Set<String> violations = new TreeSet<>();
    for (JavaClass user : engine) {
      String from = room(user);
      user.getDirectDependenciesFromSelf().stream()
          .filter(use -> isEngine(use.getTargetClass()))
          .filter(
              use ->
                  isFront(use.getTargetClass())
                      ? !JOBS.contains(from)
                      : !isFront(user) && !allowed(from, room(use.getTargetClass())))
          .forEach(use -> violations.add(use.getDescription()));
    }
    assertTrue(violations.isEmpty(), () -> String.join("\n", violations));
  }

  @Test
  void everyRoomHasItsArrowsWrittenDown() {
    Set<String> rooms =
        engine.stream()
            .map(ArchitectureTest::room)
            .filter(room -> !room.isEmpty())
            .collect(toCollection(TreeSet::new));
    rooms.removeAll(ARROWS.keySet());
    assertEquals(Set.of(), rooms);
  }

  /** Everything else asks {@code Backend.info()}. */
  @Test
  void onlyWhatOpensADeviceKnowsBackendsByTheirClass() {
    Set<String> users =
        engine.stream()
            .filter(type -> !room(type).startsWith("backend"))
            .filter(
                type ->
                    type.getDirectDependenciesFromSelf().stream()
                        .map(use -> use.getTargetClass())
                        .anyMatch(
                            used ->
                                used.isAssignableTo(Backend.class)
                                    && !used.isEquivalentTo(Backend.class)))
            .map(JavaClass::getSimpleName)
            .collect(toCollection(TreeSet::new));
    assertEquals(Set.of("MachineInspection", "OpenDevice"), users);
  }

  /** An op stands in the interface of those who ask for it; docs/architecture.md names them. */
  @Test
  void opsAreSplitByWhoAsks() {
    assertEquals(
        Set.of("close", "missingForTraining", "training"),
        Arrays.stream(Backend.class.getDeclaredMethods()).map(Method::getName).collect(toSet()));
    assertEquals(Set.of("transformer", "fit", "scoring"), rooms(ForwardOps.class));
    assertEquals(Set.of("transformer", "scoring", "measure", "analysis"), rooms(ScoringOps.class));
    assertEquals(Set.of("fit", "run", "transformer"), rooms(SolvingOps.class));
    assertEquals(Set.of("fit", "training", "transformer"), rooms(TrainingOps.class));
  }

  /** The rooms that call a method of an interface to a device. */
  private static Set<String> rooms(Class<?> ops) {
    return engine.stream()
        .filter(type -> !room(type).startsWith("backend"))
        .filter(
            type ->
                type.getMethodCallsFromSelf().stream()
                    .flatMap(call -> call.getTarget().resolveMember().stream())
                    .anyMatch(method -> method.getOwner().isEquivalentTo(ops)))
        .map(ArchitectureTest::room)
        .collect(toCollection(TreeSet::new));
  }

  /** A program that calls the engine is never told of options of a command line. */
  @Test
  void onlyTheCommandLineKnowsItsOptions() throws IOException {
    Pattern option = Pattern.compile("\"[^\"\\n]*--[a-z][^\"\\n]*\"");
    Set<String> found = new TreeSet<>();
    try (Stream<Path> sources = Files.walk(Path.of("src/main/java"))) {
      for (Path source : sources.filter(path -> path.toString().endsWith(".java")).toList()) {
        option
            .matcher(Files.readString(source))
            .results()
            .map(MatchResult::group)
            // An option of Java.
            .filter(literal -> !literal.startsWith("\"--enable-native-access"))
            .forEach(literal -> found.add(source + ": " + literal));
      }
    }
    assertEquals(Set.of(), found);
  }

  /** Neither the command line nor what it draws with is there when the engine's tests run. */
  @Test
  void theCommandLineIsNotOnTheClassPath() {
    for (String name : List.of("dev.laco.cli.Main", "picocli.CommandLine")) {
      assertThrows(ClassNotFoundException.class, () -> Class.forName(name));
    }
  }

  /** A package in two jars does not load from the module path, and hides who may use what. */
  @Test
  void noPackageIsInTwoProjects() throws IOException {
    Set<Path> all = new TreeSet<>();
    for (String project : List.of("", "cli", "bench")) {
      Path sources = Path.of(project, "src/main/java/dev");
      try (Stream<Path> files = Files.walk(sources)) {
        files
            .filter(file -> file.toString().endsWith(".java"))
            .map(file -> sources.relativize(file.getParent()))
            .distinct()
            .forEach(name -> assertTrue(all.add(name), () -> name + " in " + project));
      }
    }
  }

  @Test
  void theTableOfArrowsInTheDocsIsThisOne() throws IOException {
    Pattern row = Pattern.compile("(?m)^\\| `([a-z.]+)` \\| (`[a-z.]+`(?:, `[a-z.]+`)*|none) \\|$");
    Map<String, Set<String>> found = new TreeMap<>();
    row.matcher(Files.readString(Path.of("docs/architecture.md")))
        .results()
        .forEach(
            match ->
                found.put(
                    match.group(1),
                    match.group(2).equals("none")
                        ? Set.of()
                        : Set.of(match.group(2).replace("`", "").split(", "))));
    assertEquals(new TreeMap<>(ARROWS), found);
  }

  /** Jobs, and rooms on the ground, are drawn without arrows. */
  @Test
  void theArrowsOfThePictureAreThese() throws IOException {
    Set<String> jobs =
        Set.of(
            "prune",
            "compare",
            "curve",
            "analysis",
            "evaluate",
            "generate",
            "heal",
            "run",
            "inspect");
    Set<String> ground = Set.of("model", "text", "ffi", "linalg");
    Set<String> expected = new TreeSet<>(Set.of("linalg-ffi"));
    ARROWS.forEach(
        (from, uses) ->
            uses.stream()
                .filter(to -> !jobs.contains(from) && !ground.contains(to))
                .forEach(to -> expected.add(from + "-" + to)));
    Set<String> drawn = new TreeSet<>();
    Pattern.compile("class=\"arrow\" id=\"([a-z.-]+)\"")
        .matcher(Files.readString(Path.of("docs/pictures/rooms.svg")))
        .results()
        .forEach(match -> drawn.add(match.group(1)));
    assertEquals(expected, drawn);
  }

  @Test
  void everyPackageIsNullMarked() {
    Set<String> unmarked =
        engine.stream()
            .map(JavaClass::getPackage)
            .filter(type -> !type.isAnnotatedWith(NullMarked.class))
            .map(JavaPackage::getName)
            .collect(toCollection(TreeSet::new));
    assertEquals(Set.of(), unmarked);
  }

  private static boolean allowed(String from, String to) {
    return from.equals(to) || to.isEmpty() || ARROWS.getOrDefault(from, Set.of()).contains(to);
  }

  private static boolean isFront(JavaClass type) {
    return room(type).isEmpty()
        && FRONT.contains(type.getName().substring(ROOT.length() + 1).replaceFirst("\\$.*", ""));
  }

  private static boolean isEngine(JavaClass type) {
    return type.getPackageName().equals(ROOT) || type.getPackageName().startsWith(ROOT + ".");
  }

  /** The package below the root: {@code backend.cpu}; empty for the root itself. */
  private static String room(JavaClass type) {
    String name = type.getPackageName();
    return name.equals(ROOT) ? "" : name.substring(ROOT.length() + 1);
  }
}
