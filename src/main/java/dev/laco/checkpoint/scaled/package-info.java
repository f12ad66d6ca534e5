/** Matrices of eight bits with scales: {@code fp8}, and compressed-tensors of eight bits. */
@NullMarked
package dev.laco.checkpoint.scaled;

import org.jspecify.annotations.NullMarked;
