package dev.laco.generate;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.DeviceSettings;
import dev.laco.Model;
import dev.laco.Seconds;
import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.checkpoint.StopTokens;
import dev.laco.measure.Generator;
import dev.laco.measure.Sampler;
import dev.laco.run.MemoryPlan;
import dev.laco.run.ModelJob;
import dev.laco.run.OpenDevice;
import dev.laco.text.StreamingDecoder;
import dev.laco.text.TokenLists;
import dev.laco.text.Tokenizer;
import dev.laco.transformer.CausalLm;
import java.util.Locale;
import java.util.Random;
import java.util.Set;

/** One continuation of a prompt, or one answer in a chat. */
@SuppressWarnings("exports")
public final class GenerateJob extends ModelJob<GenerateJob> {
  private final GenerateRequest request;

  /** Prepares a generation. */
  public GenerateJob(Model model, DeviceSettings device, GenerateRequest request) {
    super(model, device);
    this.request = request;
  }

  /**
   * Runs the job.
   *
   * @throws UsageException if there is nothing to continue
   * @throws BadInputException if the model has no tokenizer, or one that does not fit it
   * @throws dev.laco.ResourceException if the device or the memory does not suffice
   * @throws dev.laco.CancelledException if it was cancelled
   */
  public GenerateResult run() {
    begin();
    Tokenizer tokenizer =
        model
            .tokenizer()
            .orElseThrow(
                () ->
                    new BadInputException(
                        model.directory()
                            + ": has "
                            + model.missingTokenizer()
                            + ", which generate needs"));
    int[] prompt = prompt(tokenizer);
    if (prompt.length == 0) {
      throw new UsageException(
          Setting.of("prompt") + " is empty and the model's tokenizer adds no BOS token");
    }
    TokenLists.requireInVocabulary(
        Setting.of("prompt").toString(), prompt, model.config().vocabSize());
    Set<Integer> stop = StopTokens.of(model.checkpoint());
    int length = Math.addExact(prompt.length, request.maxTokens());
    if (length > model.config().maxPositionEmbeddings()) {
      warn(
          String.format(
              Locale.ROOT,
              "prompt and new tokens, %d, go beyond the model's %d positions",
              length,
              model.config().maxPositionEmbeddings()));
    }
    try (OpenDevice opened = openDevice(false)) {
      CausalLm lm =
          runningModel(
                  opened.backend(),
                  MemoryPlan.Beside.buffers(
                      Generator.bytes(
                          opened.backend(),
                          model.config(),
                          model.weightType(),
                          1,
                          prompt.length,
                          request.maxTokens())),
                  1,
                  "use a smaller "
                      + Setting.of("maxTokens")
                      + " or a shorter "
                      + Setting.of("prompt"))
              .original();
      return generate(lm, tokenizer, prompt, stop);
    }
  }

  /** What the model continues: the prompt, or a chat up to where the answer begins. */
  private int[] prompt(Tokenizer tokenizer) {
    if (!request.chat()) {
      return tokenizer.encode(request.prompt());
    }
    ObjectNode chat = JsonNodeFactory.instance.objectNode();
    ArrayNode messages = chat.putArray("messages");
    if (request.system() != null) {
      messages.addObject().put("role", "system").put("content", request.system());
    }
    messages.addObject().put("role", "user").put("content", request.prompt());
    return tokenizer.chatPrompt(
        Setting.of("chat").toString(),
        Setting.of("prompt") + " without " + Setting.of("chat") + " needs",
        chat);
  }

  private GenerateResult generate(
      CausalLm lm, Tokenizer tokenizer, int[] prompt, Set<Integer> stop) {
    // The characters of the first new token may depend on the last token of the prompt.
    StreamingDecoder decoder = tokenizer.streamingDecoder();
    for (int id : prompt) {
      decoder.append(id);
    }
    decoder.flush();
    StringBuilder whole = new StringBuilder();
    Sampler sampler =
        new Sampler(
            request.temperature(),
            request.topK(),
            request.topP(),
            request.minP(),
            request.repetitionPenalty(),
            new Random(request.seed()));
    long start = System.nanoTime();
    double[] first = new double[1];
    int[] count = new int[1];
    try (Generator generator =
        new Generator(lm, sampler, stop, 1, prompt.length, request.maxTokens())) {
      generator.add(
          prompt,
          token -> {
            if (count[0] == 0) {
              first[0] = Seconds.since(start);
            }
            add(decoder.append(token), whole);
            count[0]++;
            return true;
          });
      generator.finish();
    }
    double seconds = Seconds.since(start);
    add(decoder.flush(), whole);
    return new GenerateResult(whole.toString(), prompt.length, count[0], first[0], seconds);
  }

  private void add(String text, StringBuilder whole) {
    whole.append(text);
    tell(new GenerateEvent.TextAdded(text));
  }
}
