/** Benchmarks of the kernels of a CUDA device, each beside what the device can do. */
@NullMarked
package dev.laco.bench.gpu;

import org.jspecify.annotations.NullMarked;
