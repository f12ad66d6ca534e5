package dev.laco.training;

import dev.laco.Compute;
import dev.laco.DeviceInfo;
import dev.laco.backend.Device;
import dev.laco.model.DType;

/** A device of which nothing is known but its speed. */
class UnknownDevice implements Device {
  private final double operations;

  /**
   * A device.
   *
   * @param operations in a second
   */
  UnknownDevice(double operations) {
    this.operations = operations;
  }

  @Override
  public double operationsPerSecond(DType productType) {
    return operations;
  }

  @Override
  public DType productType(DType weights) {
    return weights;
  }

  @Override
  public DeviceInfo info() {
    throw new UnsupportedOperationException();
  }

  @Override
  public Compute compute() {
    throw new UnsupportedOperationException();
  }
}
