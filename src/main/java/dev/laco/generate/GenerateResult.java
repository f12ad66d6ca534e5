package dev.laco.generate;

/**
 * How a model continued a prompt.
 *
 * @param text behind the prompt
 * @param promptTokens tokens of the prompt
 * @param newTokens tokens of the text
 * @param seconds that the model ran
 */
public record GenerateResult(String text, int promptTokens, int newTokens, double seconds) {}
