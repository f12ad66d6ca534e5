package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.model.ModelConfig;

/** The objects that the fits of all layers of a model share. */
record Workbench(
    Backend backend,
    ModelConfig config,
    FitBlocks blocks,
    Streams streams,
    Original original,
    Ridge ridge,
    Matrices matrices) {}
