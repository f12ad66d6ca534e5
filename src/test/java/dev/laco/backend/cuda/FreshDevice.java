package dev.laco.backend.cuda;

import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/**
 * Each test of a class begins with the emulated device as it was when it was loaded, and leaves
 * nothing on it.
 */
public final class FreshDevice implements BeforeEachCallback, AfterEachCallback {
  @Override
  public void beforeEach(ExtensionContext context) {
    EmulatedDevice.reset();
  }

  @Override
  public void afterEach(ExtensionContext context) {
    EmulatedDevice.assertNothingLeaks();
  }
}
