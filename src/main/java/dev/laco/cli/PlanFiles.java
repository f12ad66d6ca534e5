package dev.laco.cli;

import dev.laco.UsageException;
import dev.laco.apply.PlanTensors;
import dev.laco.collapse.CollapsePlan;
import java.io.IOException;
import java.nio.file.Path;

/**
 * The plan that {@code --plan NAME.json} asks for, and {@code NAME.safetensors} beside it for its
 * new tensors, which is written only if it has some.
 */
record PlanFiles(SideFiles.SideFile plan, SideFiles.SideFile tensors) {
  /**
   * Plans both files; nothing is written yet.
   *
   * @throws UsageException as {@link SideFiles#add}
   * @throws dev.laco.ResourceException if their folder cannot be written
   */
  static PlanFiles add(SideFiles files, Path plan) throws IOException {
    SideFiles.SideFile planFile = files.add("--plan", plan);
    String name = String.valueOf(plan.getFileName());
    int dot = name.lastIndexOf('.');
    String stem = dot > 0 ? name.substring(0, dot) : name;
    return new PlanFiles(planFile, files.add("--plan", plan.resolveSibling(stem + ".safetensors")));
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
    String name = String.valueOf(tensors.file().getFileName());
    plan.write(contents.withTensors(newTensors.named(name)).toJsonText());
  }
}
