package dev.laco.cli;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.inspect.MachineInspection;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** Says what the engine finds on this machine. */
@Command(
    name = "doctor",
    description = "Say which devices and libraries are found, and where.",
    mixinStandardHelpOptions = true,
    customSynopsis = "laco doctor [OPTIONS]",
    versionProvider = Version.class,
    footer = {"", "Example:", "  laco doctor"})
final class DoctorCommand implements Callable<Integer> {
  @Mixin OutputOptions output;

  @Override
  public Integer call() {
    Console console = output.console();
    // The engine tries both bindings.
    JcudaFolder.make();
    MachineInspection machine = MachineInspection.take();
    if (output.json) {
      ObjectNode json = JsonNodeFactory.instance.objectNode();
      machine.findings().forEach(found -> json.put(found.name(), text(found)));
      console.document(json);
    } else {
      for (MachineInspection.Finding found : machine.findings()) {
        console.result(String.format(Locale.ROOT, "%-14s %s%n", found.name(), text(found)));
      }
    }
    return machine.cpu() || machine.cuda() ? 0 : ExitCode.RESOURCE;
  }

  private static String text(MachineInspection.Finding found) {
    return OptionNames.in(found.template());
  }
}
