package dev.laco.backend.reference;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.backend.Backend;
import dev.laco.backend.BackendContractTest;
import dev.laco.backend.Compute;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The reference honours its own contract; its values are held against known ones here. */
class ReferenceBackendTest extends BackendContractTest {
  @Override
  protected Backend open() {
    return new ReferenceBackend(Compute.F32);
  }

  @ParameterizedTest
  @CsvSource({
    // Python's math.erfc
    "0,1",
    "0.5,0.4795001221869535",
    "-0.5,1.5204998778130465",
    "1.9999,0.004679802092970608",
    "2,0.004677734981047266",
    "5,1.5374597944280347e-12",
    "-3,1.9999779095030015",
    "20,5.395865611607901e-176",
  })
  void complementaryErrorFunction(double x, double expected) {
    assertEquals(expected, Erf.erfc(x), 1e-12 * expected);
  }
}
