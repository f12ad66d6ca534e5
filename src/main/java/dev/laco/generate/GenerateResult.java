package dev.laco.generate;

/**
 * How a model continued a prompt.
 *
 * @param text the text that the model added to the prompt
 * @param promptTokens tokens of the prompt
 * @param newTokens tokens of the added text
 * @param seconds seconds that the model ran
 */
public record GenerateResult(String text, int promptTokens, int newTokens, double seconds) {}
