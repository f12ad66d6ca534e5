/**
 * GGUF, the file format of llama.cpp: header, metadata, and types of elements. The description of
 * the format is gguf.md in the folder docs of github.com/ggml-org/ggml.
 */
@NullMarked
package dev.laco.checkpoint.gguf;

import org.jspecify.annotations.NullMarked;
