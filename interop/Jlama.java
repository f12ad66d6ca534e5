import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.github.tjake.jlama.model.AbstractModel;
import com.github.tjake.jlama.model.ModelSupport;
import com.github.tjake.jlama.safetensors.DType;
import com.github.tjake.jlama.tensor.AbstractTensor;
import com.github.tjake.jlama.tensor.KvBufferCache;
import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;

/**
 * Computes with jlama, in float32. Each line of standard input is a JSON object of a checkpoint's
 * folder ({@code model}) and sequences of token ids ({@code sequences}). The answer is a line of
 * standard output: the probabilities of the token behind each sequence, as arrays.
 */
void main() throws Exception {
  ObjectMapper json = new ObjectMapper();
  BufferedReader requests = new BufferedReader(new InputStreamReader(System.in));
  for (String line = requests.readLine(); line != null; line = requests.readLine()) {
    JsonNode request = json.readTree(line);
    float[][] probabilities = new float[request.get("sequences").size()][];
    File folder = new File(request.get("model").textValue());
    try (AbstractModel model = ModelSupport.loadModel(folder, DType.F32, DType.F32);
        KvBufferCache cache = new KvBufferCache(model)) {
      for (int i = 0; i < probabilities.length; i++) {
        int[] tokens = json.treeToValue(request.get("sequences").get(i), int[].class);
        try (KvBufferCache.KvBuffer buffer = cache.getEphemeralKvBuffer();
            AbstractTensor states = model.batchForward(tokens, 0, buffer)) {
          probabilities[i] = model.getLogits(states.slice(tokens.length - 1));
        }
      }
    }
    System.out.println(json.writeValueAsString(probabilities));
  }
  System.exit(0); // jlama's threads go on
}
