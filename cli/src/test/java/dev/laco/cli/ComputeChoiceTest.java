package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.backend.cpu.CpuFeature;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * In which type {@code --compute auto} multiplies and which tier our kernels are of, and where a
 * user reads it.
 */
class ComputeChoiceTest {
  private static final String FIXTURE = "llama_tied_rope3";
  private static final Path MODEL = Fixtures.model(FIXTURE).toAbsolutePath();

  @TempDir Path folder;

  /** There bf16 usually costs 1.3 to 1.5 times what f32 does, though the processor has it. */
  @Test
  void autoIsF32OnAnIntelProcessorWithoutTiles() throws IOException {
    assumeTrue(CpuFeature.AVX512_BF16.isPresent());
    assumeTrue(Files.readString(Path.of("/proc/cpuinfo")).contains("GenuineIntel"));
    Path tokens = Fixtures.tokens(folder, FIXTURE, "eval");
    Object[] eval = {"eval", MODEL, "--tokens", tokens, "--device", "cpu"};
    String wide = ", f32 products: faster than bf16 here\n";
    // Which one is faster is measured, and another program may be in the way once.
    ProgramRun auto = withoutTiles(with(eval, "--json", "--compute", "auto"));
    for (int again = 0; again < 2 && !auto.err().contains(wide); again++) {
      auto = withoutTiles(with(eval, "--json", "--compute", "auto"));
    }
    assertTrue(auto.err().contains(wide), auto.err());
    assertEquals(withoutTiles(with(eval, "--json", "--compute", "f32")).json(), auto.json());
  }

  private static ProgramRun withoutTiles(Object... arguments) throws IOException {
    ProcessBuilder process = ProgramRun.java(Main.class, arguments);
    process.environment().put("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16");
    return ProgramRun.of(process.start()).succeeded();
  }

  @Test
  void aReportNamesTheTypeAndBothRates() {
    JsonNode report =
        Laco.run(prune("--compute", "auto", "--json", "--dry-run")).succeeded().json();
    assertEquals("auto", report.at("/settings/compute").textValue());
    String products = report.at("/settings/products").textValue();
    JsonNode rates = report.at("/timings/productRates");
    assertTrue(rates.get(products).doubleValue() > 1e8, rates::toString);
    assertTrue(
        1.2 * rates.get(products).doubleValue() > rates.path("bf16").doubleValue()
            && 1.2 * rates.get(products).doubleValue() > rates.path("f32").doubleValue(),
        () -> products + " of " + rates);
    JsonNode doctor = Laco.run("doctor", "--json").succeeded().json();
    String said = doctor.get("products").textValue();
    assertTrue(said.matches("(bf16|f32) products(: faster.*)?; f32 [0-9,]+ GFLOP/s.*"), () -> said);
  }

  @Test
  void aPropertyPinsTheType() throws IOException {
    ProcessBuilder pinned = ProgramRun.java(Main.class, prune("--json", "--dry-run"));
    pinned.environment().put("JDK_JAVA_OPTIONS", "-Dlaco.cpu.products=f32");
    JsonNode report = ProgramRun.of(pinned.start()).succeeded().json();
    assertEquals("f32", report.at("/settings/products").textValue());
    pinned.environment().put("JDK_JAVA_OPTIONS", "-Dlaco.cpu.products=f64");
    ProgramRun refused = ProgramRun.of(pinned.start());
    assertEquals(2, refused.code());
    assertTrue(refused.err().contains("laco.cpu.products=f64: expected f32"), refused.err());
  }

  @Test
  void doctorNamesTheTierAndEachRate() {
    JsonNode doctor = Laco.run("doctor", "--json").succeeded().json();
    String said = doctor.get("tier").textValue();
    Matcher tier =
        Pattern.compile(
                "(portable|AVX2|AVX-512): (no lower tier is clearly faster"
                    + "|clearly faster than (AVX2|AVX-512)); portable [0-9,]+ tokens/s.*")
            .matcher(said);
    assertTrue(tier.matches(), said);
    String device = doctor.get("cpu").textValue();
    assertTrue(device.startsWith("cpu (" + tier.group(1) + ","), device);
  }

  @Test
  void aPropertyPinsTheTier() throws IOException {
    ProcessBuilder pinned = ProgramRun.java(Main.class, "doctor", "--json");
    pinned.environment().put("JDK_JAVA_OPTIONS", "-Dlaco.cpu.tier=0");
    JsonNode doctor = ProgramRun.of(pinned.start()).succeeded().json();
    String tier = doctor.get("tier").textValue();
    assertTrue(tier.startsWith("portable: laco.cpu.tier=0; portable "), tier);
    assertTrue(doctor.get("cpu").textValue().startsWith("cpu (portable,"), doctor::toString);
    assertTrue(doctor.get("products").textValue().startsWith("f32 products;"), doctor::toString);
    pinned.environment().put("JDK_JAVA_OPTIONS", "-Dlaco.cpu.tier=7");
    ProgramRun refused = ProgramRun.of(pinned.start());
    assertEquals(2, refused.code());
    assertTrue(
        refused.err().contains("laco.cpu.tier=7: this processor's tiers are [0 (portable)"),
        refused.err());
  }

  private Object[] prune(Object... more) {
    Path calibration = Fixtures.tokens(folder, FIXTURE, "calib");
    return with(
        new Object[] {"prune", MODEL, "--device", "cpu", "--calibration", calibration}, more);
  }

  private static Object[] with(Object[] some, Object... more) {
    List<Object> all = new ArrayList<>(Arrays.asList(some));
    all.addAll(Arrays.asList(more));
    return all.toArray();
  }
}
