package sdks;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.pusher.client.Pusher;
import com.pusher.client.PusherOptions;
import com.pusher.client.channel.PresenceChannelEventListener;
import com.pusher.client.channel.PrivateEncryptedChannelEventListener;
import com.pusher.client.channel.PusherEvent;
import com.pusher.client.channel.User;
import com.pusher.client.connection.ConnectionEventListener;
import com.pusher.client.connection.ConnectionState;
import com.pusher.client.connection.ConnectionStateChange;
import com.pusher.client.util.HttpChannelAuthorizer;
import com.pusher.client.util.HttpUserAuthenticator;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/** pusher-websocket-java: connects, subscribes, sends client events, signs in; tells whatever it hears. */
final class ClientLibrary implements Main.Library {
    private final Pusher pusher;

    ClientLibrary(JsonObject settings) {
        PusherOptions options = new PusherOptions()
                .setHost(settings.get("host").getAsString())
                .setWsPort(settings.get("port").getAsInt())
                .setUseTLS(false)
                .setActivityTimeout(settings.get("activityTimeoutMs").getAsLong())
                .setPongTimeout(settings.get("pongTimeoutMs").getAsLong())
                .setChannelAuthorizer(new HttpChannelAuthorizer(settings.get("channelEndpoint").getAsString()))
                .setUserAuthenticator(new HttpUserAuthenticator(settings.get("userEndpoint").getAsString()));
        pusher = new Pusher(settings.get("key").getAsString(), options);
        pusher.user().bindGlobal(event -> tell("user event", event(event)));
    }

    @Override
    public Object call(String method, JsonArray args) {
        switch (method) {
            case "connect" -> pusher.connect(new Connection(), ConnectionState.ALL);
            case "disconnect" -> pusher.disconnect();
            case "signin" -> pusher.signin();
            case "subscribe" -> subscribe(args.get(0).getAsString());
            case "unsubscribe" -> pusher.unsubscribe(args.get(0).getAsString());
            case "trigger" -> trigger(args.get(0).getAsString(), args.get(1).getAsString(), args.get(2).getAsString());
            case "socketId" -> {
                return pusher.getConnection().getSocketId();
            }
            default -> throw new IllegalArgumentException(method);
        }
        return null;
    }

    private void subscribe(String channel) {
        Listener listener = new Listener();
        if (channel.startsWith("presence-")) pusher.subscribePresence(channel, listener).bindGlobal(listener);
        else if (channel.startsWith("private-encrypted-"))
            pusher.subscribePrivateEncrypted(channel, listener).bindGlobal(listener);
        else if (channel.startsWith("private-")) pusher.subscribePrivate(channel, listener).bindGlobal(listener);
        else pusher.subscribe(channel, listener).bindGlobal(listener);
    }

    private void trigger(String channel, String event, String data) {
        if (channel.startsWith("presence-")) pusher.getPresenceChannel(channel).trigger(event, data);
        else pusher.getPrivateChannel(channel).trigger(event, data);
    }

    /** Tells the test of something: its kind and its members. */
    private static void tell(String kind, Map<String, Object> members) {
        Map<String, Object> happened = new LinkedHashMap<>(Map.of("kind", kind));
        happened.putAll(members);
        Main.say("happened", happened);
    }

    private static Map<String, Object> event(PusherEvent event) {
        Map<String, Object> members = new LinkedHashMap<>();
        members.put("channel", event.getChannelName());
        members.put("event", event.getEventName());
        members.put("data", event.getData());
        members.put("userId", event.getUserId());
        return members;
    }

    private static final class Connection implements ConnectionEventListener {
        @Override
        public void onConnectionStateChange(ConnectionStateChange change) {
            tell("state", Map.of("state", change.getCurrentState().name()));
        }

        @Override
        public void onError(String message, String code, Exception error) {
            tell("error", Map.of("code", String.valueOf(code), "message", message + ": " + error));
        }
    }

    private static final class Listener implements PresenceChannelEventListener, PrivateEncryptedChannelEventListener {
        @Override
        public void onEvent(PusherEvent event) {
            tell("event", event(event));
        }

        @Override
        public void onSubscriptionSucceeded(String channel) {
            tell("subscribed", Map.of("channel", channel));
        }

        @Override
        public void onAuthenticationFailure(String message, Exception error) {
            tell("refused", Map.of("message", message));
        }

        @Override
        public void onDecryptionFailure(String event, String reason) {
            tell("not decrypted", Map.of("event", event, "message", reason));
        }

        @Override
        public void onUsersInformationReceived(String channel, Set<User> users) {
            Map<String, Object> known = new LinkedHashMap<>();
            users.forEach(user -> known.put(user.getId(), info(user)));
            tell("members", Map.of("channel", channel, "members", known));
        }

        @Override
        public void userSubscribed(String channel, User user) {
            tell("added", Map.of("channel", channel, "id", user.getId(), "info", info(user)));
        }

        @Override
        public void userUnsubscribed(String channel, User user) {
            tell("removed", Map.of("channel", channel, "id", user.getId()));
        }

        private static String info(User user) {
            return String.valueOf(user.getInfo());
        }
    }
}
