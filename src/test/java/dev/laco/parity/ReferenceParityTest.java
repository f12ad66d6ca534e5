package dev.laco.parity;

import dev.laco.Compute;
import dev.laco.backend.Backend;
import dev.laco.backend.reference.ReferenceBackend;

/** The plain Java ops. */
final class ReferenceParityTest extends FixtureParityTest {
  @Override
  protected Backend open() {
    return new ReferenceBackend(Compute.F32);
  }
}
