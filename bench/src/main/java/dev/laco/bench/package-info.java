/** Benchmarks of the engine's ops and trials, each beside what the machine can do. */
@NullMarked
package dev.laco.bench;

import org.jspecify.annotations.NullMarked;
