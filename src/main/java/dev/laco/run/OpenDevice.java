package dev.laco.run;

import dev.laco.Compute;
import dev.laco.DeviceInfo;
import dev.laco.DeviceSettings;
import dev.laco.Model;
import dev.laco.ResourceException;
import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.backend.Backend;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.backend.cuda.CudaBackend;
import dev.laco.backend.cuda.NoCudaException;
import dev.laco.backend.cuda.ProductOverride;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.model.ModelConfig;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A device that was opened for a model.
 *
 * @param reason why {@code auto} chose this device; empty where the user chose it
 * @param warnings what makes results of the device less exact, a line each
 * @param whenClosed what is done when the device was closed
 */
public record OpenDevice(Backend backend, String reason, List<String> warnings, Runnable whenClosed)
    implements AutoCloseable {
  /** Nine digits always fit an int. */
  private static final Pattern CUDA = Pattern.compile("cuda(?::([0-9]{1,9}))?");

  private OpenDevice(Backend backend, String reason) {
    this(backend, reason, List.of(), () -> {});
  }

  /** The same device with something to do when it was closed. */
  OpenDevice afterwards(Runnable action) {
    return new OpenDevice(backend, reason, warnings, action);
  }

  /**
   * The device for people: its name, the type of its products with a model's weights, and why it
   * was chosen.
   */
  public String describe(Model model) {
    String device = backend.info().name() + ", " + backend.describeProducts(model.weightType());
    return reason.isEmpty() ? device : device + "; " + reason;
  }

  /**
   * Opens a device.
   *
   * @param model the model that the device will run
   * @throws UsageException if there is no such device name
   * @throws ResourceException if the device cannot be used; no other device is taken in its place
   */
  public static OpenDevice open(DeviceSettings settings, Model model) {
    OpenDevice opened = openAny(settings, model.config());
    if (settings.compute() == Compute.F32 && opened.backend.info().kind() == DeviceInfo.Kind.CUDA) {
      return new OpenDevice(
          opened.backend,
          opened.reason,
          ProductOverride.of(System.getenv()).stream()
              .map(
                  override ->
                      String.format(
                          Locale.ROOT,
                          "%s f32: %s=%s %s; unset it",
                          Setting.of("compute"),
                          override.variable(),
                          override.value(),
                          override.effect()))
              .toList(),
          opened.whenClosed);
    }
    return opened;
  }

  private static OpenDevice openAny(DeviceSettings settings, ModelConfig model) {
    String device = settings.device();
    if (device.equals("auto")) {
      return auto(settings, model);
    }
    if (device.equals("cpu")) {
      return new OpenDevice(cpu(settings, model), "");
    }
    if (device.equals("reference")) {
      return new OpenDevice(new ReferenceBackend(settings.compute()), "");
    }
    Matcher cuda = CUDA.matcher(device);
    if (!cuda.matches()) {
      throw Setting.of("device").refuse(device, "auto, cpu, cuda[:N] or reference");
    }
    try {
      int ordinal = cuda.group(1) == null ? 0 : Integer.parseInt(cuda.group(1));
      return new OpenDevice(gpu(settings, ordinal), "");
    } catch (NoCudaException e) {
      throw new ResourceException(Setting.of("device") + " " + device + ": " + e.template(), e);
    }
  }

  private static CpuBackend cpu(DeviceSettings settings, ModelConfig model) {
    Integer threads = settings.threads();
    return CpuBackend.open(settings.compute(), threads == null ? 0 : threads, model);
  }

  private static CudaBackend gpu(DeviceSettings settings, int ordinal) {
    return CudaBackend.open(settings.compute(), ordinal, settings.cudaBinding(), settings.memory());
  }

  /** The first GPU that can be used, else the processor. */
  private static OpenDevice auto(DeviceSettings settings, ModelConfig model) {
    String reason = "";
    int devices = 1;
    for (int ordinal = 0; ordinal < devices; ordinal++) {
      try {
        CudaBackend gpu = gpu(settings, ordinal);
        return new OpenDevice(gpu, "auto: " + (ordinal == 0 ? "the first GPU" : reason));
      } catch (ResourceException e) {
        if (ordinal == 0) {
          reason = e instanceof NoCudaException none ? none.reason() : e.getMessage();
          devices = CudaBackend.devices(settings.cudaBinding());
        }
      }
    }
    return new OpenDevice(cpu(settings, model), "auto: " + reason);
  }

  /**
   * Checks that the device can solve the linear systems of a fit, so that a lack is known before a
   * search and not after it.
   *
   * @throws ResourceException if a library is missing; the message names it and what helps
   */
  public void requireSolver() {
    String missing = backend.missingForSolver();
    if (missing != null) {
      throw new ResourceException(
          missing
              + "; without it no rule can be used that fits: prune with "
              + Setting.of("rule")
              + " drop");
    }
  }

  @Override
  public void close() {
    try {
      backend.close();
    } finally {
      whenClosed.run();
    }
  }
}
