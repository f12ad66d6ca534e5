package dev.laco.bench.gpu;

import dev.laco.backend.cuda.Dim3;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;
import picocli.CommandLine.TypeConversionException;

/** A kernel of the user's, and where it is launched otherwise than ours. */
final class UserKernel {
  @Option(
      names = "--cubin",
      required = true,
      paramLabel = "FILE",
      description =
          "A kernel of yours (cubin, fatbin or PTX) with the parameters of ours for one --op: it is held against the reference and timed in turns with ours. Several, each with options of its own that follow it, are timed in one run.")
  Path file;

  @Option(
      names = "--kernel",
      required = true,
      paramLabel = "NAME",
      description = "Its name in the file.")
  String name;

  @Option(
      names = "--grid",
      paramLabel = "X[,Y[,Z]]",
      converter = Extents.class,
      description = "Its blocks at every size, for a kernel that strides. Default: those of ours.")
  @Nullable Dim3 grid;

  @Option(
      names = "--block",
      paramLabel = "X[,Y[,Z]]",
      converter = Extents.class,
      description = "Threads of its blocks. Default: those of ours.")
  @Nullable Dim3 block;

  @Option(
      names = "--shared",
      paramLabel = "BYTES",
      description = "Its dynamic shared memory. Default: that of ours.")
  @Nullable Integer sharedBytes;

  @Option(
      names = "--cluster",
      paramLabel = "X[,Y[,Z]]",
      converter = Extents.class,
      description = "Blocks of a cluster, from compute capability 9.0 on. Default: no clusters.")
  @Nullable Dim3 cluster;

  /** For people: {@code scale of scale.cubin, block 128 x 1 x 1}. */
  String title() {
    StringBuilder title = new StringBuilder(name + " of " + file);
    add(title, "grid", grid);
    add(title, "block", block);
    add(title, "cluster", cluster);
    add(title, "shared", sharedBytes);
    return title.toString();
  }

  private static void add(StringBuilder title, String what, @Nullable Object given) {
    if (given != null) {
      title.append(", ").append(what).append(' ').append(given);
    }
  }

  /** How it is launched where ours has a grid. */
  Grid instead(Grid ours) {
    return new Grid(
        grid == null ? ours.blocks() : grid,
        block == null ? ours.block() : block,
        cluster == null ? ours.cluster() : cluster,
        sharedBytes == null ? ours.sharedBytes() : sharedBytes);
  }

  /** One to three numbers above 0. */
  static final class Extents implements ITypeConverter<Dim3> {
    private static final Pattern FORM = Pattern.compile("[1-9][0-9]{0,8}(,[1-9][0-9]{0,8}){0,2}");

    @Override
    public Dim3 convert(String text) {
      if (!FORM.matcher(text).matches()) {
        throw new TypeConversionException(
            "'" + text + "': expected one to three numbers above 0, such as 132 or 32,8");
      }
      List<Integer> given = Stream.of(text.split(",")).map(Integer::valueOf).toList();
      return new Dim3(
          given.getFirst(),
          given.size() > 1 ? given.get(1) : 1,
          given.size() > 2 ? given.get(2) : 1);
    }
  }
}
