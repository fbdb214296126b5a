package sdks;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.ably.lib.realtime.AblyRealtime;
import io.ably.lib.realtime.Channel;
import io.ably.lib.realtime.CompletionListener;
import io.ably.lib.realtime.ConnectionState;
import io.ably.lib.types.AblyException;
import io.ably.lib.types.BaseMessage;
import io.ably.lib.types.ClientOptions;
import io.ably.lib.types.ErrorInfo;
import io.ably.lib.types.Message;
import io.ably.lib.types.PaginatedResult;
import io.ably.lib.types.Param;
import io.ably.lib.types.PresenceMessage;
import io.ably.lib.util.Log;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** ably-java: realtime and REST. Bytes travel as {@code {"bytes": base64}}. */
final class AblyLibrary implements Main.Library {
    private static final long PATIENCE_SECONDS = 15;
    private final AblyRealtime ably;

    AblyLibrary(JsonObject settings) throws AblyException {
        ClientOptions options = new ClientOptions();
        options.token = settings.get("token").getAsString();
        options.restHost = options.realtimeHost = settings.get("host").getAsString();
        options.port = settings.get("port").getAsInt();
        options.tls = false;
        options.fallbackHosts = new String[0];
        options.useBinaryProtocol = settings.get("binary").getAsBoolean();
        options.autoConnect = false;
        options.logLevel = Log.NONE;
        ably = new AblyRealtime(options);
    }

    @Override
    public Object call(String method, JsonArray args) throws Exception {
        String channel = args.isEmpty() ? "" : args.get(0).getAsString();
        switch (method) {
            case "connect" -> connect();
            case "subscribe" -> {
                channel(channel).subscribe(AblyLibrary::tellMessage);
                completed(channel(channel)::attach);
            }
            case "publish" -> completed(
                    done -> channel(channel).publish(args.get(1).getAsString(), data(args.get(2)), done));
            case "watch" -> completed(done -> channel(channel).presence.subscribe(AblyLibrary::tellPresence, done));
            case "enter" -> completed(done -> channel(channel).presence.enter(data(args.get(1)), done));
            case "present" -> {
                return clientIds(channel(channel).presence.get(true));
            }
            case "history" -> {
                return history(channel(channel), args.get(1).getAsString());
            }
            case "time" -> {
                return ably.time();
            }
            case "close" -> ably.close();
            default -> throw new IllegalArgumentException(method);
        }
        return null;
    }

    private Channel channel(String name) {
        return ably.channels.get(name);
    }

    private void connect() throws Exception {
        CompletableFuture<Void> connected = new CompletableFuture<>();
        ably.connection.on(ConnectionState.connected, change -> connected.complete(null));
        ably.connection.on(
                ConnectionState.failed,
                change -> connected.completeExceptionally(AblyException.fromErrorInfo(change.reason)));
        ably.connect();
        connected.get(PATIENCE_SECONDS, TimeUnit.SECONDS);
    }

    /** Something that the library answers later. */
    private interface Request {
        void send(CompletionListener done) throws AblyException;
    }

    private static void completed(Request request) throws Exception {
        CompletableFuture<Void> outcome = new CompletableFuture<>();
        request.send(new CompletionListener() {
            @Override
            public void onSuccess() {
                outcome.complete(null);
            }

            @Override
            public void onError(ErrorInfo reason) {
                outcome.completeExceptionally(AblyException.fromErrorInfo(reason));
            }
        });
        outcome.get(PATIENCE_SECONDS, TimeUnit.SECONDS);
    }

    private static List<Object> history(Channel channel, String limit) throws AblyException {
        List<Object> items = new ArrayList<>();
        Param[] query = {new Param("direction", "forwards"), new Param("limit", limit)};
        for (PaginatedResult<Message> page = channel.history(query); page != null; page = page.next()) {
            for (Message message : page.items()) items.add(shown(message.name, message));
            if (page.isLast()) break;
        }
        return items;
    }

    private static List<String> clientIds(PresenceMessage[] members) {
        return Arrays.stream(members).map(member -> member.clientId).sorted().toList();
    }

    private static void tellMessage(Message message) {
        Main.say("happened", shown(message.name, message));
    }

    private static void tellPresence(PresenceMessage event) {
        Main.say("happened", Map.of("action", event.action.name(), "clientId", event.clientId));
    }

    private static Map<String, Object> shown(String name, BaseMessage message) {
        Map<String, Object> shown = new LinkedHashMap<>();
        shown.put("name", name);
        shown.put("clientId", message.clientId);
        shown.put("data", message.data instanceof byte[] bytes
                ? Map.of("bytes", Base64.getEncoder().encodeToString(bytes))
                : message.data);
        return shown;
    }

    private static Object data(JsonElement element) {
        if (!element.isJsonObject()) return element.getAsString();
        JsonElement bytes = element.getAsJsonObject().get("bytes");
        return bytes == null ? element : Base64.getDecoder().decode(bytes.getAsString());
    }
}
