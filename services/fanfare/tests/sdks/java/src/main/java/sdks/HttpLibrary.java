package sdks;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.pusher.rest.Pusher;
import com.pusher.rest.data.Event;
import com.pusher.rest.data.PresenceUser;
import com.pusher.rest.data.Result;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** pusher-http-java: publishes, asks and signs. */
final class HttpLibrary implements Main.Library {
    private final Pusher pusher;

    HttpLibrary(JsonObject settings) {
        pusher = new Pusher(text(settings, "id"), text(settings, "key"), text(settings, "secret"));
        pusher.setHost(text(settings, "host") + ":" + text(settings, "port"));
        pusher.setEncrypted(false);
    }

    @Override
    public Object call(String method, JsonArray args) {
        return switch (method) {
            case "trigger" -> answer(
                    pusher.trigger(texts(args.get(0)), text(args, 1), value(args.get(2)), optional(args, 3)));
            case "triggerBatch" -> answer(pusher.trigger(events(args.get(0).getAsJsonArray())));
            case "get" -> answer(pusher.get(text(args, 0), parameters(args.get(1).getAsJsonObject())));
            case "post" -> answer(pusher.post(text(args, 0), text(args, 1)));
            case "authenticate" -> pusher.authenticate(text(args, 0), text(args, 1));
            case "authenticateMember" -> pusher.authenticate(
                    text(args, 0), text(args, 1), new PresenceUser(text(args, 2), value(args.get(3))));
            case "validateWebhook" -> pusher.validateWebhookSignature(text(args, 0), text(args, 1), text(args, 2)).name();
            default -> throw new IllegalArgumentException(method);
        };
    }

    private static Map<String, Object> answer(Result result) {
        return Map.of(
                "status", result.getStatus().name(), "code", result.getHttpStatus(), "body", result.getMessage());
    }

    private static List<Event> events(JsonArray batch) {
        List<Event> events = new ArrayList<>();
        for (JsonElement element : batch) {
            JsonObject event = element.getAsJsonObject();
            events.add(new Event(text(event, "channel"), text(event, "name"), value(event.get("data"))));
        }
        return events;
    }

    private static Map<String, String> parameters(JsonObject query) {
        Map<String, String> parameters = new HashMap<>();
        query.entrySet().forEach(entry -> parameters.put(entry.getKey(), entry.getValue().getAsString()));
        return parameters;
    }

    private static Object value(JsonElement element) {
        return Main.GSON.fromJson(element, Object.class);
    }

    private static List<String> texts(JsonElement list) {
        List<String> texts = new ArrayList<>();
        list.getAsJsonArray().forEach(element -> texts.add(element.getAsString()));
        return texts;
    }

    private static String text(JsonObject object, String name) {
        return object.get(name).getAsString();
    }

    private static String text(JsonArray args, int index) {
        return args.get(index).getAsString();
    }

    private static String optional(JsonArray args, int index) {
        return args.size() > index ? text(args, index) : null;
    }
}
