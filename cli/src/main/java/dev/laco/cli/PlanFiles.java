package dev.laco.cli;

import dev.laco.BadInputException;
import dev.laco.UsageException;
import dev.laco.apply.PlanTensors;
import dev.laco.collapse.CollapsePlan;
import dev.laco.prune.GivenPlan;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;

/**
 * The plan that {@code --plan NAME.json} asks for, and {@code NAME.safetensors} beside it for its
 * new tensors, which is written only if it has some.
 */
record PlanFiles(SideFiles.SideFile plan, SideFiles.SideFile tensors) {
  /**
   * Plans both files; nothing is written yet.
   *
   * @param overwrite whether a file that is no plan may be replaced by this one
   * @throws UsageException as {@link SideFiles#add}, or if the tensors' file is there and is not
   *     that of a plan which is there, too, or if what is there in place of the plan is none
   * @throws dev.laco.ResourceException if their folder cannot be written
   */
  static PlanFiles add(SideFiles files, Path plan, boolean overwrite) throws IOException {
    SideFiles.SideFile planFile = files.add("--plan", plan);
    String name = String.valueOf(plan.getFileName());
    int dot = name.lastIndexOf('.');
    String stem = dot > 0 ? name.substring(0, dot) : name;
    Path tensors = plan.resolveSibling(stem + ".safetensors");
    SideFiles.SideFile tensorsFile = files.add("--plan", tensors);
    if (Files.exists(tensors) && !isNamedBy(plan, tensors)) {
      throw new UsageException(
          String.format(
              Locale.ROOT,
              "--plan %s: %s beside it may be replaced, too, and no plan there names it; choose another name, or move that file away",
              plan,
              tensors));
    }
    if (!overwrite) {
      OwnJson.PLAN.requireReplaceable("--plan", plan);
    }
    return new PlanFiles(planFile, tensorsFile);
  }

  /** Whether a file is there that is a plan of ours with its new tensors in another file. */
  private static boolean isNamedBy(Path plan, Path tensors) {
    try {
      CollapsePlan.NewTensors named = GivenPlan.plan(plan).tensors();
      return named != null && tensors.endsWith(named.file());
    } catch (BadInputException e) {
      return false;
    }
  }

  /**
   * Writes them, not yet under their names.
   *
   * @throws dev.laco.ResourceException if the disk is full or cannot be written
   */
  void write(CollapsePlan contents, PlanTensors newTensors) {
    if (!newTensors.isEmpty()) {
      newTensors.write(tensors.begin());
    }
    plan.write(naming(contents, newTensors).toJsonText());
  }

  /** The plan as it is written here. */
  CollapsePlan naming(CollapsePlan contents, PlanTensors newTensors) {
    String name = String.valueOf(tensors.file().getFileName());
    return contents.withTensors(newTensors.named(name));
  }

  /** Gives both their names, the plan last, since it speaks of the other. */
  void publish() {
    tensors.publish();
    plan.publish();
  }
}
