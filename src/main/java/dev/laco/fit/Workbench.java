package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.model.ModelConfig;

/** What the fits of all layers work with. */
record Workbench(
    Backend backend,
    ModelConfig config,
    FitBlocks blocks,
    Streams streams,
    Original original,
    Ridge ridge,
    Matrices matrices) {}
