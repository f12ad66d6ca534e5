package dev.laco.cli;

import dev.laco.Model;
import dev.laco.UsageException;
import dev.laco.checkpoint.DiskSpace;
import dev.laco.heal.HealRequest;
import dev.laco.heal.PeftAdapter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * The two files of the adapter that a heal writes.
 *
 * @param files null where no adapter was asked for
 */
record AdapterFiles(@Nullable Both files) {
  private static final String OPTION = "--adapter";

  /**
   * Both files.
   *
   * @param bytes the most that they take
   */
  record Both(SideFiles.SideFile config, SideFiles.SideFile tensors, long bytes) {}

  /**
   * Plans the files; nothing is written yet.
   *
   * @param folder that they will lie in; null for no adapter
   * @param overwrite whether files of their names may be replaced
   * @throws UsageException if the heal can give no adapter, or there is one already
   */
  static AdapterFiles add(
      @Nullable Path folder, SideFiles files, Model pruned, HealRequest request, boolean overwrite)
      throws IOException {
    if (folder == null) {
      return new AdapterFiles(null);
    }
    PeftAdapter.requireWritable(pruned, request, folder);
    Both both =
        new Both(
            files.add(OPTION, folder.resolve(PeftAdapter.CONFIG)),
            files.add(OPTION, folder.resolve(PeftAdapter.TENSORS)),
            PeftAdapter.mostBytes(pruned, request));
    if (!overwrite && (Files.exists(both.config.file()) || Files.exists(both.tensors.file()))) {
      throw new UsageException(
          OPTION
              + " "
              + folder
              + ": holds an adapter; choose another name, or give --overwrite to replace it");
    }
    return new AdapterFiles(both);
  }

  void addTo(DiskSpace space) throws IOException {
    if (files != null) {
      space.add(OPTION + " " + files.tensors.file(), files.tensors.file(), files.bytes);
    }
  }

  /** Writes the files, not yet under their names. */
  void write(PeftAdapter adapter) {
    if (files != null) {
      adapter.writeConfig(files.config.begin());
      adapter.writeTensors(files.tensors.begin());
    }
  }
}
