package sdks;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/**
 * Drives a library from outside: one call a line on stdin, one answer a line on stdout, as JSON.
 *
 * <p>The argument is {@code http}, {@code client} or {@code ably}; the first line is the library's settings. A call is {@code
 * {"method", "args"}}; its answer {@code {"result"}} or {@code {"error", "message"}}. What happens by itself is a line
 * {@code {"happened"}}.
 */
public final class Main {
    static final Gson GSON = new GsonBuilder().serializeNulls().disableHtmlEscaping().create();
    private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    /** A library that can be called. */
    interface Library {
        Object call(String method, JsonArray args) throws Exception;
    }

    private Main() {}

    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        JsonObject settings = GSON.fromJson(in.readLine(), JsonObject.class);
        Library library = library(args[0], settings);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            JsonObject call = GSON.fromJson(line, JsonObject.class);
            try {
                Object result = library.call(call.get("method").getAsString(), call.getAsJsonArray("args"));
                say("result", result);
            } catch (Exception error) {
                print(Map.of("error", error.getClass().getSimpleName(), "message", String.valueOf(error.getMessage())));
            }
        }
        System.exit(0);
    }

    private static Library library(String name, JsonObject settings) throws Exception {
        return switch (name) {
            case "http" -> new HttpLibrary(settings);
            case "client" -> new ClientLibrary(settings);
            case "ably" -> new AblyLibrary(settings);
            default -> throw new IllegalArgumentException(name);
        };
    }

    /** Writes a line with one member. */
    static void say(String name, Object value) {
        JsonObject line = new JsonObject();
        line.add(name, GSON.toJsonTree(value));
        print(line);
    }

    /** Called by the library's threads and our own. */
    private static synchronized void print(Object line) {
        OUT.println(GSON.toJson(line));
    }
}
