package dev.laco.bench.gpu;

import dev.laco.BadInputException;
import dev.laco.ResourceException;
import dev.laco.backend.cuda.CudaException;
import dev.laco.bench.Note;
import dev.laco.bench.Times;
import dev.laco.bench.gpu.BenchDevice.Function;
import dev.laco.bench.gpu.Watch.Watched;
import dev.laco.model.DType;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.BooleanSupplier;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/**
 * Verifies and times kernels, ours alone or the user's in turns with ours. A kernel that is wrong
 * is not timed.
 */
final class KernelCases {
  private final BenchDevice device;
  private final Timing timing;
  private final Watch watch;
  private final GpuCeilings ceilings;
  private final Results results;
  private final List<Shape> shapes;

  KernelCases(
      BenchDevice device,
      Timing timing,
      Watch watch,
      GpuCeilings ceilings,
      Results results,
      List<Shape> shapes) {
    this.device = device;
    this.timing = timing;
    this.watch = watch;
    this.ceilings = ceilings;
    this.results = results;
    this.shapes = List.copyOf(shapes);
  }

  /**
   * What does an op, and is timed in turns with others.
   *
   * @param function the kernel, null for what is none
   * @param user the user's, null for ours
   */
  private record Contender(String name, @Nullable Function function, @Nullable UserKernel user) {
    Runnable work(Job job) {
      return user == null ? job.work(function) : job.work(function, user::instead);
    }
  }

  /** Ours, each alone. */
  void ours(Op op) {
    op.variants().forEach(variant -> measure(op, variant, List.of(ours(variant))));
  }

  /**
   * The user's, in turns with that of ours that they stand in for.
   *
   * @param dtype of weights; null for bf16 where ours has that, else f32
   */
  void beside(Op op, @Nullable DType dtype, List<UserKernel> users) {
    Variant like = like(op, dtype);
    List<Contender> all = new ArrayList<>(List.of(ours(like)));
    for (UserKernel user : users) {
      all.add(new Contender(user.title(), device.function(user.file, user.name), user));
    }
    measure(op, like, all);
  }

  private Contender ours(Variant variant) {
    return new Contender(
        variant.name(),
        variant.isKernel() ? device.function(variant.file(), variant.name()) : null,
        null);
  }

  private static Variant like(Op op, @Nullable DType dtype) {
    List<Variant> kernels = op.variants().stream().filter(Variant::isKernel).toList();
    List<DType> has = kernels.stream().map(Variant::dtype).distinct().toList();
    DType wanted = dtype != null ? dtype : has.contains(DType.BF16) ? DType.BF16 : DType.F32;
    return kernels.stream()
        .filter(variant -> variant.dtype() == wanted)
        .reduce((first, last) -> last)
        .orElseThrow(
            () ->
                new BadInputException(
                    "--op " + op.name() + " has no kernel for " + wanted.shortName()));
  }

  private void measure(Op op, Variant variant, List<Contender> all) {
    Predicate<Sizes> taken = sizes -> op.takes(variant, sizes);
    List<Sizes> verified = Sizes.VERIFIED.stream().filter(taken).toList();
    List<Contender> right =
        all.stream().filter(contender -> isRight(op, variant, contender, verified)).toList();
    if (right.isEmpty()) {
      return;
    }
    for (Shape shape : shapes) {
      for (Sizes sizes : shape.timed(op).stream().filter(taken).toList()) {
        unlessTooLarge(
            String.format(
                Locale.ROOT, "%s, %s, %s", variant.name(), sizes.model(), op.describe(sizes)),
            () -> {
              time(op, variant, right, sizes);
              return true;
            });
      }
    }
  }

  private boolean isRight(Op op, Variant variant, Contender contender, List<Sizes> verified) {
    return verified.stream()
        .allMatch(
            sizes -> unlessTooLarge(contender.name, () -> verify(op, variant, contender, sizes)));
  }

  /** Whether samples of a kernel's result are right at the size that is timed. */
  private boolean isRight(Op op, Job job, Contender contender, Sizes sizes) {
    try {
      job.verifySamples(contender.work(job));
      return true;
    } catch (AssertionError e) {
      fail(op, contender, sizes, e);
      return false;
    }
  }

  private void fail(Op op, Contender contender, Sizes sizes, AssertionError e) {
    results.fail(
        String.format(
            Locale.ROOT,
            "%s is wrong in the shapes of %s, %s: %s",
            contender.name,
            sizes.model(),
            op.describe(sizes) + sizes.widths(),
            e.getMessage()));
  }

  /** What the work says; false where the device has too little memory for it. */
  private static boolean unlessTooLarge(String what, BooleanSupplier work) {
    try {
      return work.getAsBoolean();
    } catch (CudaException e) {
      throw e;
    } catch (ResourceException e) {
      System.err.println("gpu-bench: left out: " + what + ": " + e.getMessage());
      return false;
    }
  }

  private boolean verify(Op op, Variant variant, Contender contender, Sizes sizes) {
    try (Lab lab = new Lab(device, true)) {
      Job job = op.prepare(variant, sizes, lab);
      job.verify(contender.work(job));
      return true;
    } catch (AssertionError e) {
      fail(op, contender, sizes, e);
      return false;
    }
  }

  private void time(Op op, Variant variant, List<Contender> all, Sizes sizes) {
    try (Lab lab = new Lab(device, false)) {
      Job job = op.prepare(variant, sizes, lab);
      List<Contender> contenders =
          all.stream().filter(contender -> isRight(op, job, contender, sizes)).toList();
      if (contenders.isEmpty()) {
        return;
      }
      List<Note.Rates> bounds = ceilings.of(job);
      List<Runnable> works = contenders.stream().map(contender -> contender.work(job)).toList();
      Watched<List<Times>> watched =
          watch.measure(
              () -> job.isCached() ? timing.ofCache(works) : timing.ofMemory(works, job::renew));
      List<Times> times = watched.measured();
      for (int i = 0; i < contenders.size(); i++) {
        Contender contender = contenders.get(i);
        Results.Result result =
            results
                .of(
                    op.name(),
                    times.get(i),
                    "kernel",
                    contender.name,
                    "model",
                    sizes.model(),
                    "sizes",
                    op.describe(sizes) + sizes.widths())
                .work(job.read() + job.written(), job.operations())
                .within(bounds)
                .wanted(op.target(variant, sizes, device));
        if (works.get(i) instanceof Launch launch) {
          result.with("resources", launch.resources());
        }
        result.clocks(watched.card());
        result.with("checked here", job.checked());
        if (i > 0 && contenders.getFirst().user == null) {
          result.with(
              "comparison",
              Comparison.of(
                  times.get(i).samples(), contenders.getFirst().name, times.getFirst().samples()));
        }
        result.add();
      }
    }
  }
}
