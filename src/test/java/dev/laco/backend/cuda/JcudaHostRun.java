package dev.laco.backend.cuda;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.DeviceSettings;
import dev.laco.Model;
import dev.laco.ResourceException;
import dev.laco.evaluate.EvaluateJob;
import dev.laco.evaluate.EvaluateRequest;
import dev.laco.inspect.MachineInspection;
import java.nio.file.Path;
import java.util.Properties;

/**
 * A host that measures a model on a GPU which it calls through JCuda. Prints the error that keeps
 * it from that, if one does, and each change of {@code java.io.tmpdir}, for however short a time.
 */
final class JcudaHostRun {
  private static final String TEMPORARY = "java.io.tmpdir";

  private JcudaHostRun() {}

  /** The host's properties, which tell of changes. */
  private static final class Watched extends Properties {
    private static final long serialVersionUID = 1;

    Watched(Properties properties) {
      putAll(properties);
    }

    @Override
    public synchronized Object put(Object key, Object value) {
      tell(key, value);
      return super.put(key, value);
    }

    @Override
    public synchronized Object remove(Object key) {
      tell(key, null);
      return super.remove(key);
    }

    private static void tell(Object key, Object value) {
      if (key.equals(TEMPORARY)) {
        System.out.println(TEMPORARY + " became " + value);
      }
    }
  }

  /** Measures {@code MODEL} on {@code TOKENS}. */
  public static void main(String[] arguments) {
    System.setProperties(new Watched(System.getProperties()));
    DeviceSettings device =
        new DeviceSettings("cuda", Compute.AUTO, null, CudaBinding.JCUDA, null, null);
    try (Model model = Model.open(Path.of(arguments[0]))) {
      new EvaluateJob(model, device, new EvaluateRequest.Tokens(Path.of(arguments[1]))).run();
    } catch (ResourceException e) {
      System.out.println(e.getMessage());
    }
    MachineInspection.take();
  }
}
